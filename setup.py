"Hands the metadata of settings.ini to setuptools."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=['='])
cfg.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = cfg['DEFAULT']

def lines(key): return [o for o in cfg[key].split('\n') if o]
extras = {o.removesuffix('_requirements'): lines(o) for o in cfg if o.endswith('_requirements')}
dev = extras.pop('dev')
reports = sorted(f'nbs/{f.name}' for f in Path(__file__).with_name('nbs').glob('paper.*.ipynb'))    # of maca_lab report

readme = Path(__file__).with_name('README.md').read_text(encoding='utf-8')
def absolute(link):
    "The beginning of a link or picture, for a package index, which has no files beside the README"
    return f"{link[1]}{link[2]}({cfg['git_url']}/{'raw' if link[1] else 'blob'}/main/"

setup(
    version=cfg['version'],
    description=cfg['description'],
    long_description=re.sub(r'(!?)(\[[^]\n]*\])\((?!\w+:|#)', absolute, readme),
    long_description_content_type='text/markdown',
    license=cfg['license'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    keywords=[o.strip() for o in cfg['keywords'].split(',')],
    classifiers=[f"Development Status :: {cfg['status']}", 'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Image Recognition'],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=['maca_net', 'maca_net.*']),
    package_data={'maca_net': ['*.csv', 'requirements-*.txt', 'weights/*']},
    data_files=[('share/maca_net', reports)],
    install_requires=lines('requirements'),
    extras_require={**extras, 'dev': sum(extras.values(), dev)},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': ['maca_net=maca_net._modidx:d']},
)
