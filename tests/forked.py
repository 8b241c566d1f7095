"""Commands in processes that are forked from one that has imported what takes seconds to import.

`run` is `subprocess.run` for the commands of this package and for `python -c`: output, exit status, environment and
folder are the command's own. A test of signals, or of what a command imports, starts a real process itself."""
import importlib.metadata, multiprocessing, os, subprocess, sys, tempfile
from pathlib import Path

HEAVY = ['fastai.vision.all', 'sklearn.neighbors', 'sklearn.manifold', 'scipy.stats', 'matplotlib.pyplot']
server = multiprocessing.get_context('forkserver')
server.set_forkserver_preload(HEAVY)

def _streams(folder):
    "Standard input is empty; output and errors go to files"
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd,name in ((1, 'out'), (2, 'err')):
        os.dup2(os.open(Path(folder)/name, os.O_WRONLY|os.O_CREAT|os.O_TRUNC), fd)
    sys.stdin,sys.stdout,sys.stderr = open(0),open(1, 'w', buffering=1),open(2, 'w', buffering=1)

def _python(args):
    "As `python ... -c CODE ARGS` does"
    at = args.index('-c')
    sys.argv = ['-c', *args[at+2:]]
    exec(compile(args[at+1], '<string>', 'exec'), dict(__name__='__main__'))

def _entry(name): return next(iter(importlib.metadata.entry_points(group='console_scripts', name=name)), None)

def _command(name, args):
    sys.argv = [name, *args]
    sys.exit(_entry(name).load()())

def _child(args, cwd, env, folder):
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [o for o in env.get('PYTHONPATH', '').split(os.pathsep) if o]
    _streams(folder)
    import matplotlib, torch
    matplotlib.use(env.get('MPLBACKEND', 'Agg'))
    if 'OMP_NUM_THREADS' in env: torch.set_num_threads(int(env['OMP_NUM_THREADS']))
    if _is_code(args): _python(args[1:])
    else: _command(Path(args[0]).name, args[1:])

def _is_code(args): return '-c' in args and Path(args[0]).name.startswith('python')
def _is_command(args): return Path(args[0]).name.startswith('maca_') and _entry(Path(args[0]).name)

def _with_gpu():
    import torch
    return torch.cuda.is_available()

def run(*args, cwd=None, env=None, timeout=900):
    """What `subprocess.run` with `capture_output` and `text` says of a command. Other programs than those of the
    package and `python -c` are started as usual, and all where there is a GPU, which cannot be used after a fork"""
    args,env = [str(a) for a in args],dict(env or os.environ)
    if not (_is_code(args) or _is_command(args)) or _with_gpu():
        return subprocess.run(args, capture_output=True, text=True, cwd=cwd, env=env, timeout=timeout)
    with tempfile.TemporaryDirectory() as d:
        p = server.Process(target=_child, args=(args, str(cwd or os.getcwd()), env, d))
        p.start()
        p.join(timeout)
        if p.is_alive():
            p.kill()
            raise subprocess.TimeoutExpired(args, timeout)
        out,err = ((Path(d)/o).read_text(errors='replace') for o in ('out', 'err'))
    return subprocess.CompletedProcess(args, p.exitcode, out, err)
