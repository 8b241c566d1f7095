"Commands answer before they import: --help, --version and a misspelt option need neither torch nor fastai."
import os, statistics, subprocess, sys, time
from pathlib import Path
import pytest

BIN = Path(sys.executable).parent
COMMANDS = ('maca_train', 'maca_eval', 'maca_export', 'maca_predict', 'maca_app', 'maca_serve', 'maca_ensemble',
    'maca_lab')
HEAVY = {'torch', 'torchvision', 'fastai', 'fastcore', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'gradio', 'cv2'}
ANSWERS = {'--help': (0, 'examples:'), '--version': (0, ''), '--epohcs': (2, 'error')}

def start(*args):
    env = {**os.environ, 'MPLBACKEND': 'Agg', 'PYTHONWARNINGS': 'ignore'}
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, env=env)

def heavy_imports(command, option):
    "What a command imports of `HEAVY`: Python itself names each import on stderr"
    r = start(sys.executable, '-X', 'importtime', BIN/command, option)
    lines = [l for l in r.stderr.splitlines() if l.startswith('import time:')]
    assert len(lines)>20, r.stderr
    return {l.rpartition('|')[2].strip().partition('.')[0] for l in lines} & HEAVY

def seconds(*args):
    t = time.perf_counter()
    start(*args)
    return time.perf_counter()-t

@pytest.mark.parametrize('option', ANSWERS)
@pytest.mark.parametrize('command', COMMANDS)
def test_options_need_nothing_heavy(command, option):
    assert not heavy_imports(command, option)

@pytest.mark.parametrize('command', COMMANDS)
def test_what_is_answered(command):
    for option,(code,says) in ANSWERS.items():
        r = start(BIN/command, option)
        assert r.returncode==code and says in r.stdout+r.stderr, (option, r.stdout, r.stderr)
    from maca_net import __version__
    assert start(BIN/command, '--version').stdout.strip()==f'{command} {__version__}'

@pytest.mark.parametrize('command,option,meant', [
    ('maca_train', '--epohcs', '--epochs'), ('maca_train', '--afc-wieght', '--afc-weight'),
    ('maca_eval', '--spilt', '--split'), ('maca_export', '--fromat', '--format'),
    ('maca_predict', '--overlya', '--overlay'), ('maca_app', '--prot', '--port')])
def test_a_misspelt_option_is_named(command, option, meant):
    r = start(BIN/command, option, 'x')
    assert r.returncode==2 and f'did you mean {meant!r}' in r.stderr, r.stderr

def test_imports_are_seen():
    "`heavy_imports` finds what is there: the test above can fail"
    r = start(sys.executable, '-X', 'importtime', '-c', 'import torch')
    assert any(l.rpartition('|')[2].strip()=='torch' for l in r.stderr.splitlines())

def test_answers_come_at_once():
    "In at most a third of the time of `import torch`; all are timed in turns, on a machine that may be busy"
    cases = {f'{c} {o}': (BIN/c, o) for c in ('maca_train', 'maca_predict') for o in ('--help', '--epohcs')}
    cases['torch'] = sys.executable, '-c', 'import torch'
    took = {k: [] for k in cases}
    for _ in range(3):
        for k,args in cases.items(): took[k].append(seconds(*args))
    medians = {k: statistics.median(v) for k,v in took.items()}
    print(', '.join(f'{k}: {v:.2f} s' for k,v in medians.items()))
    assert all(v<=medians['torch']/3 for k,v in medians.items() if k!='torch'), medians
