"Commands parse before they import: a fresh process for each"
import re, subprocess, sys, time
import pytest

COMMANDS = dict(maca_train='train', maca_eval='evaluate', maca_export='export')
HEAVY = ('torch', 'fastai', 'pandas', 'sklearn', 'matplotlib')

def call(command, *args):
    code = f'''import sys
from maca_net.cli.{COMMANDS[command]} import {command}
try: {command}(sys.argv[1:])
except SystemExit as e: rc = e.code
print('heavy:', [m for m in {HEAVY} if m in sys.modules])
sys.exit(rc)'''
    return subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True)

def fastest(*command, times=3):
    "Seconds of the fastest of a few calls: other processes only slow a call down"
    def once():
        t = time.perf_counter()
        subprocess.run(command, capture_output=True)
        return time.perf_counter()-t
    return min(once() for _ in range(times))

@pytest.mark.parametrize('command', COMMANDS)
def test_help_imports_nothing_heavy(command):
    r = call(command, '--help')
    assert r.returncode==0 and 'heavy: []' in r.stdout and 'examples:' in r.stdout, r.stdout + r.stderr

@pytest.mark.parametrize('command,args,near', [('maca_train', ['--epcohs', '3'], '--epochs'),
    ('maca_train', ['--schedule', 'cosin'], 'cosine'),
    ('maca_eval', ['r', '--splti', 'test'], '--split'), ('maca_export', ['r', '--format', 'openvin'], 'openvino')])
def test_misspelt_imports_nothing_heavy(command, args, near):
    r = call(command, *args)
    assert r.returncode==2 and f'(did you mean {near!r}?)' in r.stderr and 'heavy: []' in r.stdout, r.stdout + r.stderr

@pytest.mark.parametrize('command', COMMANDS)
def test_version(command):
    r = call(command, '--version')
    assert r.returncode==0 and re.match(rf'{command} \d+\.\d+', r.stdout) and 'heavy: []' in r.stdout

def test_help_takes_a_third_of_torch():
    torch = fastest(sys.executable, '-c', 'import torch')
    for command,module in COMMANDS.items():
        for option in ('--help', '--no-such-option'):
            code = f'from maca_net.cli.{module} import {command}; {command}([{option!r}])'
            assert fastest(sys.executable, '-c', code)<torch/3, (command, option)
