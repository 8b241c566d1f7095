"Distillation, images that grow, and the rates of the backbone: options of a run, from the command to the row's key"
from dataclasses import replace
import numpy as np, pandas as pd, pytest, torch
from maca_net.all import (RunConfig, face_dls, load_run, maca_learner, predict_probs, read_synth,
    read_valid_predictions, run_key, sha256, teacher_answers, teacher_list, train_run, write_json)

BASE = RunConfig(n_faces=160, method='baseline', arch='resnet18', size=32, epochs=2, bs=32, lr=.02, schedule='cosine',
    augment='none', device='cpu')

@pytest.fixture(scope='module')
def faces(): return read_synth(160, 64, progress=False)

@pytest.fixture(scope='module')
def teacher(tmp_path_factory, faces):
    out = tmp_path_factory.mktemp('runs')/'teacher'
    train_run(BASE, out, faces, figures=False)
    return out

def test_answers_are_the_calibrated_mean_of_both_views(teacher, faces):
    p = teacher_answers([teacher, teacher], faces, 'cpu')
    n = int((faces.df.split=='train').sum())
    assert p.shape==(n, 8) and np.allclose(p.sum(1), 1, atol=1e-4)
    mirrored = replace(faces, images=faces.images[:,:,::-1].copy())
    assert np.allclose(p, teacher_answers([teacher], mirrored, 'cpu'), atol=1e-3)    # in half precision too

def test_a_student_learns_the_answers(teacher, faces, tmp_path):
    "With all weight on the teacher, the targets of the fit are the teacher's answers, and validation has its labels"
    cfg = replace(BASE, teacher=str(teacher), teacher_weight=1., epochs=1)
    seen = []
    from fastai.callback.core import Callback
    class Look(Callback):
        def before_batch(self):
            if self.training: seen.append(self.y.clone())
    res = train_run(cfg, tmp_path/'student', faces, figures=False, cbs=Look())
    want,got = teacher_answers([teacher], faces, 'cpu'),torch.cat(seen).numpy()
    assert len(got) and all(np.abs(want-t).sum(1).min()<1e-5 for t in got)
    assert res['n']==int((faces.df.split=='valid').sum()) and 'votes_kl' not in res
    info = load_run(tmp_path/'student')[1]
    assert info['config']['teacher']==str(teacher.resolve())
    taught_by, = info['teachers']
    assert (taught_by['name'], taught_by['sha256'], taught_by['track'])==(
        'teacher', sha256(teacher/'model.safetensors'), 'scratch')
    assert res['track']=='scratch + teacher (scratch)' and res['scale'].endswith('from scratch + teacher (scratch)')

def test_which_run_it_is_depends_on_the_teacher_not_on_its_folder(teacher, tmp_path):
    cfg = replace(BASE, teacher=str(teacher))
    elsewhere = tmp_path/'moved'
    elsewhere.symlink_to(teacher)
    assert run_key(cfg)==run_key(replace(cfg, teacher=str(elsewhere)))!=run_key(BASE)
    assert run_key(cfg)!=run_key(replace(cfg, teacher_weight=.9))
    ensemble = tmp_path/'ensemble'                                      # counts as its members
    ensemble.mkdir()
    (ensemble/'0-a').symlink_to(teacher)
    write_json(ensemble/'ensemble.json', dict(members=['0-a']))
    assert run_key(cfg)==run_key(replace(cfg, teacher=str(ensemble)))
    assert teacher_list(str(ensemble))==[ensemble/'0-a']

def test_a_teacher_of_other_classes_is_named(teacher, faces):
    keep = faces.df.label!='contempt'
    less = replace(faces.take(keep.to_numpy()), vocab=[c for c in faces.vocab if c!='contempt'])
    with pytest.raises(ValueError, match='teacher .* knows'): teacher_answers([teacher], less, 'cpu')

def test_a_frozen_start_and_a_smaller_rate(faces, tmp_path):
    "The backbone's weights stay in the frozen epochs; at a rate of 0 they stay to the end"
    dls = face_dls(faces, 32, 32, augment='none', device='cpu')
    learn = maca_learner(dls, 'resnet18', 'baseline', lr=.02)
    def weights(): return [m.weight.detach().clone() for m in (learn.model.backbone.conv1, learn.model.classifier)]
    was = weights()
    with learn.no_bar(), learn.no_logging(): learn.fit_cosine(2, frozen=1.999)
    now = weights()
    assert torch.equal(was[0], now[0]) and not torch.equal(was[1], now[1])
    with learn.no_bar(), learn.no_logging(): learn.fit_cosine(1, lr=[0., .02])
    assert torch.equal(now[0], weights()[0]) and not torch.equal(now[1], weights()[1])

def test_growing_images_skipped_faces_and_rates_as_options(faces, tmp_path):
    cfg = replace(BASE, size=48, grow=32, skip_easy=.9, backbone_lr=.1, frozen=1, epochs=3)
    res = train_run(cfg, tmp_path/'run', faces, figures=False)
    p = read_valid_predictions(tmp_path/'run')['probs']
    others = replace(cfg, grow=None), replace(cfg, frozen=0.), replace(cfg, skip_easy=0.)
    assert res['best_epoch'] and len({run_key(c) for c in (cfg, *others)})==4
    seen = pd.read_csv(tmp_path/'run'/'history.csv').faces
    assert seen[1]<seen[0]==seen[2]
    dl = face_dls(faces, 48, 32, device='cpu').valid
    model = load_run(tmp_path/'run', 'cpu')[0]
    assert np.allclose(predict_probs(model, dl), p, atol=1e-4)
