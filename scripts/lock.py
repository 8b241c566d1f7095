"""The versions that an environment of `make dev` holds, for requirements-lock.txt: `make lock`.

Only what the package and its extras need is named, with what those need in turn. NVIDIA's libraries and Triton are left
out: the build of torch names their versions itself."""
import platform, sys
from importlib.metadata import distribution, version
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEFT_OUT = 'nvidia-', 'cuda-', 'triton', 'pip', 'setuptools'

def needed(name, extras=(), found=None):
    "{name: version} of what a distribution with these extras needs here, at any depth"
    found = {} if found is None else found
    for text in distribution(name).requires or ():
        r = Requirement(text)
        if r.marker and not any(r.marker.evaluate({'extra': e}) for e in (*extras, '')): continue
        key = canonicalize_name(r.name)
        if key.startswith(LEFT_OUT) or (key, *sorted(r.extras)) in found: continue
        found[(key, *sorted(r.extras))] = version(key).partition('+')[0]
        needed(key, r.extras, found)
    return found

pins = {k[0]: v for k,v in needed('maca_net', ['dev']).items()}
print(f'''# Versions with which the tests of maca_net {version('maca_net')} passed: Python {platform.python_version()} on
# {platform.system()} {platform.machine()}. Written by `make lock`. Use: pip install -r requirements-lock.txt, then
# pip install --no-deps -e .''')
for k,v in sorted(pins.items()): print(f'{k}=={v}')
