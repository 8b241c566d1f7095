"Runs of the methods that MACA-Net builds on, and of the controls: trained, interrupted, read back, named in a store."
import pytest, torch
from fastai.callback.core import Callback
from maca_net.core import read_json
from maca_net.datasets.synth import read_synth
from maca_net.lab.experiments import canonical, run_key
from maca_net.runs.config import RunConfig
from maca_net.runs.evaluate import load_run
from maca_net.runs.train import train_run

# every method with a reading of its own; text as on a command line
RUNS = dict(center='afc_weight=.01', cbam='reduction=8', soft_labels='mode=probability,drop=true', ls_sam='rho=.1',
    nla='js=logits', dan='channel_start=small,mi_eps=2.2e-16,spare_centers=1,centers_decay=true')

def config(method, **kw):
    options = dict(readings=RUNS[method], arch='resnet18', size=32, n_faces=64, bs=16, epochs=2, lr=.01, ema=.9,
        precision='fp32', device='cpu', n_heads=1 if method=='dan' else None)
    return RunConfig(method=method, **{**options, **kw})

@pytest.fixture(scope='module')
def faces(): return read_synth(64, 48, progress=False)

class Break(Callback):
    "Ends the fit in its second epoch"
    order = 80
    def after_batch(self):
        if self.training and self.epoch==1: raise KeyboardInterrupt

@pytest.mark.parametrize('method', RUNS)
def test_a_run_is_trained_interrupted_and_read_back(method, faces, tmp_path):
    cfg = config(method)
    whole = train_run(cfg, tmp_path/'whole', faces, figures=False)
    with pytest.raises(KeyboardInterrupt): train_run(cfg, tmp_path/'again', faces, figures=False, cbs=Break())
    again = train_run(cfg, tmp_path/'again', faces, figures=False)
    assert again['nll']==whole['nll'] and again['confusion']==whole['confusion']
    model,info = load_run(tmp_path/'again', 'cpu')
    assert info['readings']==read_json(tmp_path/'whole'/'config.json')['readings']
    assert model(torch.zeros(2, 3, 32, 32)).shape==(2, 8)

@pytest.mark.parametrize('method', RUNS)
def test_a_store_names_a_run_by_its_readings(method):
    "One spelling for what a method says anyway, another name for another reading"
    cfg,own = config(method),config(method, readings=None)
    assert canonical(canonical(cfg))==canonical(cfg)
    assert canonical(cfg).get_readings()==cfg.get_readings()
    assert canonical(own).readings is None
    assert run_key(canonical(cfg))!=run_key(canonical(own))
