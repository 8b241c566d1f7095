"On a GPU, where there is one: training, stopping and going on, plots and predictions of a network that moves there"
import gc, os, subprocess, sys
from functools import partial
from pathlib import Path
import numpy as np, pytest, torch
os.environ.setdefault('MPLBACKEND', 'Agg')
import matplotlib.pyplot as plt
from fastai.callback.core import Callback
from fastai.optimizer import SGD
from maca_net.all import (MACANet, Checkpoint, ForeachSGD, GraphedModel, Predictor, RunConfig, Store, eval_dl,
    export_run, face_dls, load_run, maca_learner, plot_attention, plot_tsne, predict_probs, read_synth, set_seed,
    train_run)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
CFG = dict(arch='resnet18', size=48, last_stride=1, epochs=2, bs=32, lr=.02, schedule='cosine', n_faces=256,
           device='cuda')

class KilledError(Exception): pass
class Kill(Callback):
    "Ends a fit without a word in the middle of an epoch"
    def __init__(self, epoch): self.at = epoch
    def after_batch(self):
        if self.training and self.epoch==self.at and self.iter==2: raise KilledError('killed')

@pytest.fixture(scope='module')
def faces(): return read_synth(256, 48, progress=False)

@pytest.fixture(scope='module')
def run(tmp_path_factory, faces):
    out = tmp_path_factory.mktemp('runs')/'maca'
    return out,train_run(RunConfig(method='maca', **CFG), out, faces)

def learner(faces, method='maca', **kw):
    set_seed(0)
    return maca_learner(face_dls(faces, 48, 32, device='cuda'), 'resnet18', method, last_stride=1, lr=.02, **kw)

def test_a_run_trains_there_and_says_so(run):
    out,res = run
    assert res['hardware']==torch.cuda.get_device_name(0)
    assert res['precision'] in ('bf16', 'fp16') and 10<res['peak_mb']<4000
    figures = {f.name: f.stat().st_size for f in (out/'figures').iterdir()}
    assert all(figures.values()) and {'tsne.png', 'attention.png', 'curves.png'}<=set(figures)

def test_the_cpu_answers_alike(run, faces):
    def answers(d): return predict_probs(load_run(run[0], d)[0], eval_dl(faces.only('valid'), 48, torch.device(d)))
    there,here = answers('cuda'),answers('cpu')
    assert np.abs(there-here).max()<.05 and (there.argmax(1)==here.argmax(1)).mean()>.95           # bf16 here and there

def test_predictor_and_export(run, faces, tmp_path):
    img = faces.image(0)
    p,q = (Predictor(run[0], device=d).predict(img, detect=False, attention=True).faces[0] for d in ('cuda', 'cpu'))
    assert p.label==q.label and max(abs(p.probabilities[k]-q.probabilities[k]) for k in p.probabilities)<.05
    f = export_run(run[0], 'safetensors', tmp_path/'m.safetensors')['file']
    assert Predictor(f, device='cuda').predict(img, detect=False).faces[0].label==p.label

@pytest.mark.parametrize('method,kw', [('baseline', {}), ('maca', {}), ('maca', dict(precision='fp16')), ('dan', {})])
def test_stopped_and_gone_on_with(faces, tmp_path, method, kw):
    "The same end, to what a GPU repeats of its own sums"
    torch.backends.cudnn.deterministic = True
    try:
        ends = []
        for at in (None, 1):
            file = tmp_path/f'{at}.pt'
            if at is not None:
                l = learner(faces, method, cbs=[Checkpoint(file), Kill(at)], **kw)
                with pytest.raises(KilledError), l.no_bar(), l.no_logging(): l.fit(2)
                assert file.exists()
            l = learner(faces, method, cbs=Checkpoint(file), **kw)
            with l.no_bar(), l.no_logging(): l.fit(2)
            weights = torch.cat([p.detach().float().flatten().cpu() for p in l.model.parameters()])
            ends.append((weights, l.recorder.values[-1][:2]))
        (a,va),(b,vb) = ends
        assert (a-b).norm()/a.norm()<1e-2 and np.allclose(va, vb, rtol=.05), ((a-b).norm()/a.norm(), va, vb)
    finally: torch.backends.cudnn.deterministic = False

class Watch(Callback):
    "The loss of each training batch, and whether there were graphs"
    order = 60
    def __init__(self): self.seen,self.graphed = [],False
    def after_batch(self):
        if not self.training: return
        self.seen.append(self.loss.item())
        self.graphed = 'forward' in vars(self.learn.model)

def watched_fit(faces, method, graphs, monkeypatch, **kw):
    "Losses of two epochs, by graphs or not, and how often each batch norm was counted"
    monkeypatch.setattr(GraphedModel, 'enabled', graphs)
    l,w = learner(faces, method, **kw),Watch()
    with l.no_bar(), l.no_logging(): l.fit(2, cbs=w)
    assert w.graphed==graphs and 'forward' not in vars(l.model)
    return w.seen,[b.item() for n,b in l.model.named_buffers() if n.endswith('num_batches_tracked')],l

@pytest.mark.parametrize('method', ['baseline', 'maca'])
def test_graphs_change_nothing(faces, method, monkeypatch):
    "The two passes as graphs, and kernel by kernel: the same losses, and what is counted is counted once"
    (a,n,l),(b,m,_) = (watched_fit(faces, method, on, monkeypatch) for on in (True, False))
    assert isinstance(l.opt, ForeachSGD)
    assert np.allclose(a[:4], b[:4], rtol=.02) and np.allclose(a, b, rtol=.2), (a, b)
    assert n==m

def test_graphs_with_an_optimizer_that_fills_gradients(faces, monkeypatch):
    "fastai's own SGD keeps the gradients of a step, which a graph would write over"
    sgd = partial(SGD, mom=.9, decouple_wd=False)
    (a,*_),(b,*_) = (watched_fit(faces, 'maca', on, monkeypatch, opt_func=sgd) for on in (True, False))
    assert np.allclose(a[:4], b[:4], rtol=.02) and np.allclose(a, b, rtol=.2), (a, b)

def test_stopped_in_the_middle_of_an_epoch(faces, tmp_path):
    "Losses and alphas of both processes are whole"
    for die in ([Kill(1)], []):
        l = learner(faces, cbs=[Checkpoint(tmp_path/'c.pt', minutes=0), *die])
        try:
            with l.no_bar(), l.no_logging(): l.fit(2)
        except KilledError: assert die
    steps = 2*len(l.dls.train)
    assert len(l.recorder.losses)==len(l.afc_loss.alphas)==steps
    assert {o.device.type for o in l.recorder.losses}=={'cpu'} and all(isinstance(o, float) for o in l.afc_loss.alphas)

def test_before_the_first_fit(faces):
    "The network is still on the CPU then, the loaders are not"
    l = learner(faces)
    plot_attention(l, faces.image(0)); plot_tsne(l, kind='heads', max_n=50); l.dls.show_batch()
    with l.no_bar(), l.no_logging(): assert l.predict(np.asarray(faces.image(0)))[0] in faces.vocab
    plt.close('all')

def test_less_memory_in_the_backward_pass():
    "Checkpointing holds less between the passes"
    x,held = torch.randn(64, 3, 96, 96, device='cuda'),[]
    for ck in (False, True):
        model = MACANet(8, 'resnet18', readings='baseline', last_stride=1).cuda().train()
        model.backbone.checkpointing = ck
        gc.collect(); torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        out = model(x)['logits']
        held.append(torch.cuda.memory_allocated()-before)
        out.sum().backward()
        del out,model
    assert held[1]<.6*held[0], held

def test_two_runs_at_a_time_on_one_gpu(tmp_path):
    args = 'run fig7 --scale quick --n-faces 128 --epochs 1 --seeds 1 --gpu 0 --workers 2 --store'.split()
    p = subprocess.Popen([Path(sys.executable).parent/'maca_lab', *args, tmp_path/'s'], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    try: out = p.communicate(timeout=300)[0]
    except subprocess.TimeoutExpired:
        p.terminate()                                             # it stops its runs
        out = p.communicate(timeout=60)[0]
    assert p.returncode==0 and '2 of 2 done' in out, out + ''.join(f.read_text() for f in tmp_path.glob('s/work/*.log'))
    assert set(Store(tmp_path/'s').rows().hardware)=={torch.cuda.get_device_name(0)}
