"Commands answer before they import: --help, --version and a misspelt option need neither torch nor fastai."
import os, subprocess, sys
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

def heavy_imports(*args):
    """(what Python imports of `HEAVY`, exit code, stdout, stderr) of a call: Python itself names each import on
    stderr"""
    r = start(sys.executable, '-X', 'importtime', *args)
    imports,said = [],[]
    for l in r.stderr.splitlines(): (imports if l.startswith('import time:') else said).append(l)
    assert len(imports)>20, r.stderr
    found = {l.rpartition('|')[2].strip().partition('.')[0] for l in imports}
    return found & HEAVY,r.returncode,r.stdout,'\n'.join(said)

def seconds(*args):
    "Of the processor, in the process and all that it starts"
    was = os.times()
    start(*args)
    now = os.times()
    return now.children_user+now.children_system-was.children_user-was.children_system

@pytest.mark.parametrize('option', ANSWERS)
@pytest.mark.parametrize('command', COMMANDS)
def test_options_are_answered_without_heavy_imports(command, option):
    heavy,code,out,err = heavy_imports(BIN/command, option)
    assert not heavy
    wanted,says = ANSWERS[option]
    assert code==wanted and says in out+err, (out, err)
    if option=='--version':
        from maca_net import __version__
        assert out.strip()==f'{command} {__version__}'

@pytest.mark.parametrize('command,args,meant', [
    ('maca_train', ['--afc-wieght', '1'], '--afc-weight'), ('maca_train', ['--schedule', 'cosin'], 'cosine'),
    ('maca_eval', ['r', '--spilt', 'test'], '--split'), ('maca_export', ['r', '--format', 'openvin'], 'openvino'),
    ('maca_predict', ['--overlya', 'x'], '--overlay'), ('maca_app', ['--prot', '1'], '--port')])
def test_what_is_misspelt_is_named_without_heavy_imports(command, args, meant):
    heavy,code,_,err = heavy_imports(BIN/command, *args)
    assert not heavy and code==2 and f'did you mean {meant!r}' in err, err

def test_bash_completes_every_command():
    "The words of options and sub-commands, and files where a file is wanted"
    from importlib import import_module
    from maca_net.cli.base import completion_script
    module = dict(maca_eval='evaluate')
    parsers = [getattr(import_module(f'maca_net.cli.{module.get(c, c[5:])}'), f'{c[5:]}_parser')() for c in COMMANDS]
    cases = {'maca_train --log tr': 'trackio', 'maca_eval --split te': 'test', 'maca_export --form': '--format',
        'maca_predict --csv setu': 'setup.py', 'maca_app setu': 'setup.py', 'maca_serve --model setu': 'setup.py',
        'maca_ensemble a b setu': 'setup.py', 'maca_lab run --scale qu': 'quick', 'maca_lab run fig4 fi': 'fig5'}
    ask = [f'COMP_WORDS=({c}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); COMPREPLY=(); _shtab_{c.split()[0]}; '
        'echo "${COMPREPLY[@]}"' for c in cases]
    scripts = [completion_script(p, 'bash') for p in parsers]
    r = subprocess.run(['bash'], input='\n'.join([*scripts, *ask]), capture_output=True, text=True,
        cwd=Path(__file__).parent.parent)
    assert not r.stderr
    for case,said in zip(cases, r.stdout.splitlines(), strict=True): assert cases[case] in said.split(), (case, said)

def test_imports_are_seen():
    "`heavy_imports` finds what is there: the tests above can fail"
    assert 'torch' in heavy_imports('-c', 'import torch')[0]

def test_answers_come_at_once():
    "In at most a third of the time of `import torch`; all are timed in turns, on a machine that may be busy"
    cases = {f'{c} {o}': (BIN/c, o) for c in ('maca_train', 'maca_predict') for o in ('--help', '--epohcs')}
    cases['torch'] = sys.executable, '-c', 'import torch'
    took = {k: [] for k in cases}
    for _ in range(3):
        for k,args in cases.items(): took[k].append(seconds(*args))
    least = {k: min(v) for k,v in took.items()}
    print(', '.join(f'{k}: {v:.2f} s' for k,v in least.items()))
    assert all(v<=least['torch']/3 for k,v in least.items() if k!='torch'), least
