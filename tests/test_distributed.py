"""One run on two processes (gloo, CPU): loss terms, centres and theta are those of one process with the same batches.

Equal where no layer looks at the whole batch. Batch norm does, and each process on a CPU normalises its
own half: for the comparison these layers become group norm; what they change when they stay is bounded beside it.
(`accelerate launch --cpu` would silently start one process.)"""
import json, os, socket, subprocess, sys, time
from contextlib import contextmanager
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import forked, numpy as np, pytest
pytest.importorskip('accelerate')

TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore', 'MPLBACKEND': 'Agg'}
CASES = [('sgd', 'group'), ('wen', 'group'), ('sgd', 'batch')]

WORKER = '''
import json, os, sys
from maca_net.all import *

def without_batch_norm(m):
    for k,c in m.named_children():
        if isinstance(c, nn.modules.batchnorm._BatchNorm): setattr(m, k, nn.GroupNorm(1, c.num_features))
        else: without_batch_norm(c)

class Terms(Callback):
    order = 70
    def before_fit(self): self.rows,self.faces = [],[]
    def after_pred(self):
        if self.training: self.faces.append(self.xb[0].mean((1,2,3)).tolist())
    def after_train(self): self.rows.append({cb.name_: cb.mean() for cb in self.learn.cbs if isinstance(cb, LossTerm)})

rank,world,res = int(os.environ.get('RANK', 0)),int(os.environ.get('WORLD_SIZE', 1)),{}
join_processes('cpu')
if world>1: assert torch.distributed.get_backend()=='gloo'
faces = read_synth(96, 32, progress=False)
for rule,norm in json.loads(sys.argv[2]):
    set_seed(0)
    learn = maca_learner(face_dls(faces, 32, 32, augment='none', device='cpu'), 'test_resnet',
        readings=dict(n_heads=2, centers_rule=rule),
                         last_stride=1, precision='fp32', lr=.01, cbs=Terms())
    if norm=='group': without_batch_norm(learn.model)
    with learn.no_bar(), learn.no_logging(), distributed(learn): learn.fit(2)
    afc = learn.model.afc
    res[f'{rule} {norm}'] = dict(terms=learn.terms.rows, faces=learn.terms.faces,
        centers=afc.centers.tolist(), theta=afc.theta.item(), valid=[float(o) for o in learn.recorder.values[-1]])
json.dump(res, open(f'{sys.argv[1]}-{world}-{rank}.json', 'w'))
'''

@contextmanager
def torchrun_words(world):
    """The environment that torchrun gives its processes, but for their ranks; empty for one process. The port is held
    meanwhile"""
    if world==1: yield {}; return
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('127.0.0.1', 0))
        yield dict(WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(s.getsockname()[1]))

def run_on(world, *command):
    "All that a command prints, on that many processes"
    def run(rank):
        ranks = dict(RANK=str(rank), LOCAL_RANK=str(rank)) if world>1 else {}
        r = forked.run(*command, env={**ENV, **words, **ranks})
        assert r.returncode==0, r.stdout[-2000:] + r.stderr[-4000:]
        return r.stdout
    with torchrun_words(world) as words, ThreadPoolExecutor() as pool: return ''.join(pool.map(run, range(world)))

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "(one process, [first of two, second of two]), by case"
    out = tmp_path_factory.mktemp('ddp')/'run'
    for world in (1, 2): run_on(world, sys.executable, '-c', WORKER, out, json.dumps(CASES))
    def read(name): return json.loads(Path(f'{out}-{name}.json').read_text())
    return read('1-0'),[read(f'2-{i}') for i in (0, 1)]

def differences(runs, case):
    "Of two processes to one, relative: (loss terms, centres, validation figures)"
    one,two = runs[0][case],[r[case] for r in runs[1]]
    for k in ('terms', 'centers', 'theta'): assert two[0][k]==two[1][k], k
    assert two[0]['valid'][1:]==two[1]['valid'][1:]
    rel = lambda a,b: float(np.max(np.abs(np.asarray(a)-b))/np.abs(b).max())
    def column(side, k): return np.array([r[k] for r in side['terms']])
    terms = max(rel(column(two[0], k), column(one, k)) for k in ('ce', 'afc', 'mi'))
    return terms,rel(two[0]['centers'], np.array(one['centers'])),rel(two[0]['valid'], np.array(one['valid']))

def test_the_batches_of_one_process(runs):
    one,two = runs[0]['sgd group'],[r['sgd group'] for r in runs[1]]
    assert len(one['faces'])==4 and len(one['faces'][0])==32
    for whole,a,b in zip(one['faces'], two[0]['faces'], two[1]['faces']):
        np.testing.assert_allclose(whole, a+b, atol=1e-6)

@pytest.mark.parametrize('rule', ['sgd', 'wen'])
def test_two_processes_are_one_global_batch(runs, rule):
    terms,centers,valid = differences(runs, f'{rule} group')
    print(f'{rule}: terms {terms:.1e}, centres {centers:.1e}, validation {valid:.1e}')
    assert terms<1e-3 and centers<1e-3

def test_what_batch_norm_changes(runs):
    terms,centers,_ = differences(runs, 'sgd batch')
    print(f'batch norm by halves: terms {terms:.1e}, centres {centers:.1e}')
    assert 1e-4<terms<.3 and centers<.1

def test_maca_train_on_two_processes(tmp_path):
    "The command line: one process writes, a run that was stopped goes on. What torchrun starts, it ends"
    out = tmp_path/'run'
    opts = '--device cpu --n-faces 96 --size 48 --arch test_resnet --n-heads 1 --epochs 3'.split()
    train = [str(Path(sys.executable).parent/'maca_train'), *opts, '--bs', '32', '--out', str(out)]
    end = time.time()+600
    p = subprocess.Popen([*TORCHRUN, '--no-python', *train], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=ENV)
    while not (out/'history.csv').exists() and p.poll() is None and time.time()<end: time.sleep(.05)
    first = (out/'history.csv').read_text()
    p.terminate(); p.wait(120)
    assert not (out/'config.json').exists()
    printed = run_on(2, *train)
    assert 'going on with it' in printed and printed.count('run saved in')==1                    # one of them tells
    # an epoch that is done again takes another time
    def without_seconds(text): return [line.rpartition(',')[0] for line in text.splitlines()]
    whole = without_seconds((out/'history.csv').read_text())
    done = without_seconds(first)                                  # one epoch, or two
    assert len(done)>1 and whole[:len(done)]==done and len(whole)==4
    info = json.loads((out/'config.json').read_text())
    assert info['processes']==2 and info['config']['bs']==32 and not (out/'checkpoint.pt').exists()
