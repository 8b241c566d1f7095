"Runs of every method with readings of its own: trained, interrupted, read back, and named in a store."
import warnings
from dataclasses import replace
import numpy as np, pytest, torch
from torch import nn
from fastai.callback.core import Callback
from maca_net.core import read_json, write_json
from maca_net.data.faces import fingerprint, flip_labels
from maca_net.data.loaders import face_dls
from maca_net.datasets.synth import read_synth
from maca_net.lab.experiments import canonical, run_key
from maca_net.models.backbones import BACKBONES, Backbone
from maca_net.options import METHODS
from maca_net.runs.config import RunConfig
from maca_net.runs.evaluate import load_run
from maca_net.runs.people import run_signals, signal_table
from maca_net.runs.train import train_run
from maca_net.training.learner import build_network, maca_learner

def two_strides(stem, last_stride):
    "Two convolutions, B x 3 x 32 x 32 -> B x 24 x 4 x 4"
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 24, 4, 4))
BACKBONES.register(Backbone('two_strides', two_strides, 24, size=32))

# readings other than the method's, as on a command line; None: it offers none
RUNS = dict(maca='fusion=mean,mi=decorrelation', baseline='classifier=batch_norm', recommended=None,
    dan='channel_start=small,mi_eps=2.2e-16,spare_centers=1,centers_decay=true', center='afc_weight=.01',
    cbam='reduction=8', soft_labels='mode=probability,drop=true', rul='grid=4', ls_sam='rho=.1', nla='js=logits',
    scn='relabel_from=0,relabel_margin=.01', eac='erase=shared', ipa2lt='model_weight=1',
    ran='gate=softmax', dmue='ramp=.5', pacvt='dim=32,heads=2,positions=none', gaave='sure=.2,cap_least=4')
# values that say how ambiguous a face is, of the methods that have them
SIGNALS = dict(scn=['-weight'], rul=['uncertainty'], nla=['weight'], dmue=['1 - confidence', 'mined label'])
OTHERS = [m for m in RUNS if m not in ('maca', 'baseline', 'recommended')]      # notebooks 31 and 56 interrupt these

def config(method, **kw):
    "A tiny run. CBAM stands in the blocks of a ResNet"
    options = dict(readings=RUNS[method], arch='resnet18' if method=='cbam' else 'two_strides', size=32, n_faces=64,
        bs=16, epochs=2, lr=.01, ema=.9, precision='fp32', device='cpu', n_heads=1 if method=='dan' else None)
    return RunConfig(method=method, **{**options, **kw})

@pytest.fixture(scope='module')
def faces(): return read_synth(64, 48, progress=False)

class Break(Callback):
    "Ends the fit of a run in its second epoch; fits of stages go on"
    order = 80
    def after_batch(self):
        if self.training and self.epoch==1: raise KeyboardInterrupt

def test_every_method_is_here():
    odd = set(RUNS)^set(METHODS)
    assert not odd, f'{odd}: RUNS has a line for every method, its readings other than its own, or None'

@pytest.mark.parametrize('method', OTHERS)
def test_a_run_is_trained_interrupted_and_read_back(method, faces, tmp_path):
    cfg = config(method)
    whole = train_run(cfg, tmp_path/'whole', faces, figures=False)
    with pytest.raises(KeyboardInterrupt): train_run(cfg, tmp_path/'again', faces, figures=False, cbs=Break())
    costs = sorted((tmp_path/'again').glob('cost-stage-*.json'))
    assert len(costs)==len(METHODS[method].stages)
    for f in costs: write_json(f, dict(seconds=3600., hardware='G1'))
    again = train_run(cfg, tmp_path/'again', faces, figures=False)
    assert len(costs)<again['hours']<len(costs)+.5                  # every stage counts, also after an interruption
    assert again['hardware']==('G1, then CPU' if costs else 'CPU')
    assert again['nll']==whole['nll'] and again['confusion']==whole['confusion']
    model,info = load_run(tmp_path/'again', 'cpu')
    assert info['readings']==read_json(tmp_path/'whole'/'config.json')['readings']
    assert model(torch.zeros(2, 3, 32, 32)).shape==(2, 8)
    voted = replace(faces, votes=np.random.default_rng(0).dirichlet([.3]*8, len(faces)).astype(np.float32))
    table = signal_table(**run_signals(tmp_path/'again', voted, device='cpu'))
    assert [*table.index]==SIGNALS.get(method, ['none'])
    assert table.rho_of_probabilities.abs().max()<=1 and (method not in SIGNALS or table.rho.abs().max()<=1)

@pytest.mark.parametrize('method', ['scn', 'gaave'])
def test_a_learner_on_plain_loaders_fits_and_says_what_it_lacks(method, faces):
    "Batches carry numbers while a fit with a `LabelTable` is on; nobody wrote the labels of a method in stages"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        learn = maca_learner(face_dls(faces, 32, 16, device='cpu'), 'two_strides', method)
    assert any('labels that its stages write' in str(w.message) for w in said)==bool(METHODS[method].stages)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .01)
    assert learn.label_table.table is not None and len(learn.dls.train.one_batch())==2

@pytest.mark.parametrize('method', RUNS)
def test_a_store_names_a_run_by_its_readings(method):
    "One spelling for what a method says anyway, another name for another reading"
    cfg,own = config(method),config(method, readings=None)
    assert canonical(canonical(cfg))==canonical(cfg)
    assert canonical(cfg).get_readings()==cfg.get_readings()
    assert canonical(own).readings is None or METHODS[method].variant_of
    assert (run_key(canonical(cfg))==run_key(canonical(own)))==(RUNS[method] is None)

def test_readings_of_another_method_are_named():
    for bad in (dict(readings='fusion=mean'), dict(n_heads=2)):
        with pytest.raises(ValueError, match='readings are beta'): RunConfig(method='scn', **bad)

def test_noise_makes_training_labels_wrong_and_no_others(faces, tmp_path):
    class See(Callback):
        def before_fit(self): self.learn.seen = self.dls.train.targets().tolist(),self.dls.valid.targets().tolist()
    see,cfg = See(),config('baseline', noise=.5, seed=3, epochs=1)
    res = train_run(cfg, tmp_path/'run', faces, figures=False, cbs=see)
    noisy = flip_labels(faces, .5, 3)
    def numbers(f, split): return f.only(split).df.label.map(f.vocab.index).tolist()
    assert see.learn.seen==(numbers(noisy, 'train'), numbers(faces, 'valid'))
    assert res['images']==fingerprint(faces)

@pytest.mark.parametrize('method', RUNS)
def test_every_method_stands_on_the_backbone_of_the_face_track(method):
    net = build_network(8, method, 'dlib29', last_stride=1).eval()
    with torch.no_grad(): assert net(torch.randn(2, 3, 80, 80)).shape==(2, 8)
