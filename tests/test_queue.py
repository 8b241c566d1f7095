"The GPU queue with processes of its own: two tiny runs on a CPU, packed, trained, brought home and merged."
import json, os, sys, time
from pathlib import Path
import forked, numpy as np, pytest
from PIL import Image
from maca_net.all import Store, run_key, scale_config, synth_faces, write_layout
from maca_net.lab.queue import Gate, Job, Processes, run_queue

LAB = Path(sys.executable).parent/'maca_lab'
ENV = {**os.environ, 'MPLBACKEND': 'Agg'}
TINY = dict(scale='quick', options=dict(epochs=1, bs=16))
QUEUE = [dict(experiment='fig7', cells=['baseline', 'AFC'], **TINY)]

# as many threads as each of two runs of the queue has: sums come out the same
ENV['OMP_NUM_THREADS'] = str(max(1, (os.cpu_count() or 1)//2))

def lab(*args): return forked.run(LAB, *args, env=ENV)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Drawn faces in FERPlus's layout, six faces without labels, and a pack of both that the command wrote"
    root = tmp_path_factory.mktemp('data')
    write_layout(root/'FERPlus', 'ferplus', 160)
    (root/'faces').mkdir()
    for i,a in enumerate(synth_faces(6, size=48, seed=7, progress=False)[0]):
        Image.fromarray(a).convert('L').save(root/'faces'/f'{i}.png')
    r = lab('pack', '--data', 'ferplus', '--path', root/'FERPlus', '--blind', root/'faces', '--out', root/'f.pack')
    assert r.returncode==0 and '6 blind faces' in r.stdout and 'MB' in r.stdout, r.stdout + r.stderr
    return root

@pytest.fixture(scope='module')
def came(data):
    """What two runs on a CPU bring home. The first call returns at once and leaves its runs at work; the second finds
    them, waits, and brings them home"""
    lines = []
    def call(**kw): return run_queue(data/'none', data/'f.pack', 15, QUEUE, data/'out', data/'work', 'cpu', at_once=2,
        say=lines.append, **kw)
    left = call(call_seconds=0)
    assert [j.state for j in left]==['running', 'running'] and not (data/'out'/'runs-1.zip').exists()
    pids = [Processes(Store(data/'work'/'store'), 'cpu', 0.)._pid(j) for j in left]
    jobs = call()
    assert [j.state for j in jobs]==['done', 'done'], '\n'.join(lines) + (data/'out'/'log.txt').read_text()
    return dict(pids=pids, jobs=jobs)

def test_two_runs_come_home_and_merge(data, came):
    assert {f.name for f in (data/'out').iterdir()}=={'runs-1.zip', 'log.txt'}
    (data/'home'/'rows').mkdir(parents=True)
    r = lab('merge', data/'home', data/'out')
    assert r.returncode==0 and r.stdout.startswith('2 runs came into'), r.stdout + r.stderr
    store = Store(data/'home')
    rows = store.rows()
    assert rows.error.isna().all() and set(rows.data)=={'ferplus'} and rows.key.str.startswith('ferplus-').all()
    for k in rows.key:
        valid,blind,argmax = (store.predictions(k, s) for s in ('valid', 'blind', 'argmax'))
        assert blind['names'].tolist()==[f'{i}.png' for i in range(6)] and blind['probs'].dtype==np.float32
        assert np.allclose(blind['probs'].astype(float).sum(1), 1, atol=.01)
        assert np.allclose(argmax['probs'].astype(float), valid['probs'], atol=1e-3)       # one rule as the other here
        assert (argmax['target']==valid['target']).all() and (store.blind_file(k)).stat().st_size<100_000
    assert {s['experiment'].name for s in store.studies()}=={'fig7'}
    again = lab('merge', data/'home', data/'out')
    assert again.stdout.startswith('0 runs came into')

def test_a_run_from_the_pack_is_the_run_from_the_folder(data, came):
    "The same key, and the same row to the last digit"
    store = Store(data/'folder')
    args = '--scale quick --epochs 1 --bs 16 --seeds 1 --cells AFC --device cpu --data ferplus --path'.split()
    r = lab('run', 'fig7', *args, data/'FERPlus', '--store', store.path)
    assert r.returncode==0, r.stdout + r.stderr
    here = Store(data/'work'/'store')
    assert len(store.rows())==1 and set(store.rows().key)<set(here.rows().key)
    for k in store.rows().key:
        a,b = store.row(k),here.row(k)
        for name in ('images', 'accuracy', 'nll', 'history', 'best_epoch', 'confusion'): assert a[name]==b[name], name

def test_the_same_command_finds_what_is_done(data, came):
    lines = []
    jobs = run_queue(data/'none', data/'f.pack', 15, QUEUE, data/'out', data/'work', 'cpu', at_once=2, say=lines.append)
    assert [j.state for j in jobs]==['done', 'done'] and any('going on in' in l for l in lines)
    assert not any(l.startswith('start') for l in lines)

def test_runs_outlive_the_command(came):
    "A call that returned at once left its runs at work, and the next call did not start them again"
    assert None not in came['pids'] and len(set(came['pids']))==2
    assert [j.tries for j in came['jobs']]==[1, 1]

def test_what_cannot_finish_is_not_started(data, tmp_path):
    "Half a minute is less than a process needs to begin"
    lines = []
    jobs = run_queue(data/'none', data/'f.pack', .4, QUEUE, tmp_path/'o', tmp_path/'w', 'cpu', say=lines.append)
    assert [j.state for j in jobs]==['waiting', 'waiting'] and not list((tmp_path/'w'/'store'/'queue').glob('*.pid'))

def test_a_run_whose_time_is_up_ends_itself(data, tmp_path):
    "Also where nobody watches it any more"
    job = Job('a', scale_config('quick', data='pack', path=str(data/'f.pack'), epochs=200, bs=16, seed=5), 'k')
    job.key,job.tries = run_key(job.cfg),1
    m = Processes(Store(tmp_path/'s'), 'cpu', time.time()+1)
    m.start(job)
    assert m.procs[job.key].wait(300)!=0 and not m.is_alive(job) and not m.is_done(job)
    assert 'the time is up' in m.file(job, 'log').read_text()

def test_the_gate_waits_between_epochs(tmp_path):
    wait = tmp_path/'wait'
    gate = Gate(tmp_path/'at', wait, 10., clock=lambda: 0., sleep=lambda s: wait.unlink())
    wait.touch()
    gate.before_epoch()
    assert not (tmp_path/'wait').exists()
    late = Gate(tmp_path/'at', tmp_path/'wait', 10., clock=lambda: 11.)
    (tmp_path/'wait').touch()
    with pytest.raises(SystemExit, match='the time is up'): late.before_epoch()

def test_the_plan_needs_no_gpu(data):
    (data/'q.json').write_text(json.dumps([dict(experiment='headline', scale='cpu')]))
    r = lab('gpu', data/'none', '--pack', data/'f.pack', '--minutes', 13, '--dry-run', '--queue', data/'q.json')
    assert r.returncode==0, r.stderr
    assert 'runs are to do; in 13 minutes' in r.stdout and 'headline at cpu: MACA-Net, seed 0' in r.stdout

@pytest.mark.parametrize('args,says', [
    (['gpu', 's', '--minutes', '5', '--pack', 'nowhere.pack'], 'there is no such file'),
    (['gpu', 's', '--minutes', '0', '--pack', '{data}/f.pack'], 'minutes is above 0'),
    (['gpu', 's', '--minutes', '5', '--pack', '{data}/f.pack', '--queue', '{data}/f.pack'], 'is damaged'),
    (['pack', '--data', 'ferplus', '--path', '{data}/FERPlus', '--out', 'x.zip'], 'ends in .pack'),
    (['pack', '--data', 'synth', '--out', 'x.pack'], 'need no pack'),
    (['pack', '--data', 'ferplus', '--path', '{data}/FERPlus', '--blind', 'nowhere', '--out', 'x.pack'],
        'no such folder')])
def test_what_is_wrong_is_one_line(data, args, says):
    r = lab(*[a.format(data=data) for a in args])
    assert r.returncode==2 and says in r.stderr and r.stderr.count('\n')==1, r.stdout + r.stderr
