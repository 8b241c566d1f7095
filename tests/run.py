"""All tests, as `make test` runs them: `python tests/run.py`. With words, the pieces whose names hold one of the words.

Three lanes side by side, each on half of the cores, take the next piece from one list: the checks of the repository,
the files of tests/ by pytest, the notebooks. One of three waits most of the time, for a package, a browser or a disk.
A piece is a process of its own. It is forked from this process, which has imported what takes seconds to import. The
last line counts all tests together."""
import contextlib, gc, os, re, subprocess, sys, tempfile, time, warnings
from pathlib import Path

ROOT,LANES = Path(__file__).resolve().parent.parent,3
BIN = Path(sys.executable).parent
THREADS = max(1, (os.cpu_count() or 1)//2)
os.environ.update(PATH=f'{BIN}{os.pathsep}{os.environ["PATH"]}', MPLBACKEND='Agg', PYTHONWARNINGS='ignore',
    OMP_NUM_THREADS=str(THREADS), PYTORCH_NVML_BASED_CUDA_CHECK='1')

def shell(command): return subprocess.run(['bash', '-euo', 'pipefail', '-c', command], cwd=ROOT).returncode

IN_SYNC = '''copy=$(mktemp -d); trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - 2>/dev/null | tar -xf - -C "$copy"
(cd "$copy" && nbdev-clean && nbdev-export)
diff -r -x __pycache__ -x .ipynb_checkpoints nbs "$copy/nbs"
diff -r -x __pycache__ maca_net "$copy/maca_net"'''

def run_notebook(file):
    from nbdev.test import nbdev_test
    os.chdir(file.parent)
    nbdev_test(file.name)                                  # exits with 1 where a cell fails
    return 0

def run_test_file(file):
    import pytest
    os.chdir(ROOT)
    return int(pytest.main(['-q', '-rs', '-p', 'no:cacheprovider', str(file)]))

LONG = ('75_', '76_', '87_', '56_', '62_', '30_', 'tutorial')

def pieces():
    "(name, function) of all that is run: the long notebooks first, so that the lanes end at about one time"
    yield 'lint', lambda: shell('ruff check .')
    yield 'notebooks clean, package in sync', lambda: shell(IN_SYNC)
    yield 'README.md is nbs/index.ipynb', lambda: shell(f'nbs/readme.sh "{BIN}" --check')
    def in_order(f): return not f.name.startswith(LONG), f.name
    for run,files in (run_test_file, (ROOT/'tests').glob('test_*.py')), (run_notebook, (ROOT/'nbs').glob('*.ipynb')):
        for f in sorted(files, key=in_order): yield str(f.relative_to(ROOT)), lambda run=run, f=f: run(f)

def import_once():
    "fastai sets up a GPU on import, and a GPU that is set up cannot be used after a fork: there each piece imports"
    warnings.simplefilter('ignore')
    import nbdev.test, pytest, torch                       # noqa: F401
    if not torch.cuda.is_available(): import fastai.vision.all, matplotlib.pyplot      # noqa: F401
    gc.collect(); gc.freeze()                              # no process looks through all that again

def start(piece, log):
    "The process that runs a piece, with all that it prints in a file"
    sys.stdout.flush()
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        with open(log, 'w') as f:
            os.dup2(f.fileno(), 1)
            os.dup2(f.fileno(), 2)
        code = piece()
    except SystemExit as e: code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception): sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)

def counted(name, code, text):
    "passed, failed, skipped of a piece: a file of tests/ says so in its last line, all else is one test"
    if not name.startswith('tests/'): return int(code==0), int(code!=0), 0
    last = text.strip().rpartition('\n')[2]
    def number(word): return int((re.search(rf'(\d+) {word}', last) or [0, 0])[1])
    passed,failed,skipped = number('passed'),number('failed')+number('error'),number('skipped')
    return passed, failed or int(code not in (0, 5)), skipped

def report(name, code, text, seconds, cpu):
    "Tells how a piece went, how long it took, and the seconds of processor time of all its processes"
    result,of_pytest = counted(name, code, text),name.startswith('tests/')
    print(f"{'FAIL' if result[1] else 'ok':5} {name} ({seconds:.0f} s, {cpu:.0f} s of a core)")
    lines = text.replace('\r', '\n').strip().splitlines()
    if result[1]: print('\n'.join(lines[-400 if of_pytest else -40:]))
    elif of_pytest: print('\n'.join(f'      {l}' for l in lines if l.startswith('SKIPPED') or l is lines[-1]))
    sys.stdout.flush()
    return result

def strangers():
    "Files and folders, empty ones too, that are neither in git nor ignored"
    said = subprocess.run('git clean -nd'.split(), cwd=ROOT, capture_output=True, text=True).stdout
    return {line.removeprefix('Would remove ') for line in said.splitlines()}

def main():
    before = strangers()
    import_once()
    words = sys.argv[1:]
    totals,running,waiting = [0, 0, 0],{},[p for p in pieces() if not words or any(w in p[0] for w in words)]
    with tempfile.TemporaryDirectory() as d:
        while waiting or running:
            while waiting and len(running)<LANES:
                name,piece = waiting.pop(0)
                log = Path(d)/str(len(waiting))
                running[start(piece, log)] = name,log,time.time()
            pid,status,used = os.wait4(-1, 0)
            name,log,t = running.pop(pid)
            got = report(name, os.waitstatus_to_exitcode(status), log.read_text(errors='replace'), time.time()-t,
                         used.ru_utime+used.ru_stime)
            totals = [a+b for a,b in zip(totals, got)]
    left = sorted(strangers()-before)
    totals = [a+b for a,b in zip(totals, report('the tests leave nothing behind', bool(left), '\n'.join(left), 0, 0))]
    print('{} passed, {} failed, {} skipped'.format(*totals))
    return int(totals[1]>0)

if __name__=='__main__': sys.exit(main())
