"Files of earlier versions still load and answer as they did."
# data/run-0.1 was written by version 0.1; its ONNX file lost the exporter's traces. tiny.xml and tiny.bin are of the
# `maca_export --format openvino` of 1aa9412, the commit that trained the run
import json
from pathlib import Path
import numpy as np, pytest

OLD = Path(__file__).parent/'data'/'run-0.1'
FILES = ('config.json', 'metrics.json', 'history.csv', 'model.safetensors', 'valid_names.txt',
    'valid_predictions.npz', 'tiny.onnx', 'tiny.safetensors', 'tiny.xml', 'tiny.bin')

@pytest.fixture(scope='module')
def valid():
    "The validation faces, drawn as the run's configuration says, and the probabilities stored for them"
    from maca_net.runs.config import read_data, run_config
    faces = read_data(run_config(json.loads((OLD/'config.json').read_text()))).only('valid')
    assert list(faces.df.name)==(OLD/'valid_names.txt').read_text().split()
    return faces.images,np.load(OLD/'valid_predictions.npz')

def answers(file, images, **kwargs):
    from maca_net.deploy.predict import Predictor
    predictor = Predictor(file, 'cpu', **kwargs)
    found = predictor.predict(images, detect=False)
    return predictor,np.array([list(p.faces[0].probabilities.values()) for p in found])

@pytest.mark.parametrize('file', ['', 'tiny.safetensors', 'tiny.onnx', 'tiny.xml'])
def test_the_stored_probabilities(file, valid):
    if not file.endswith(('.onnx', '.xml')): pytest.importorskip('timm')
    if file.endswith('.xml'): pytest.importorskip('openvino')
    images,stored = valid
    predictor,got = answers(OLD/file, images)
    assert predictor.labels==['neutral', 'happiness', 'surprise', 'sadness', 'anger', 'disgust', 'fear', 'contempt']
    assert np.abs(got-stored['probs']).max()<1e-4
    assert np.abs(answers(OLD/file, images, views=2)[1]-stored['flip_probs']).max()<1e-4

def test_the_description_in_todays_words():
    pytest.importorskip('timm')
    from maca_net.runs.evaluate import load_run
    for file in (OLD, OLD/'tiny.safetensors'):
        model,info = load_run(file, 'cpu')
        assert info['config']['method']=='baseline'
        assert (info['readings']['afc_weight'], info['readings']['mi_weight'])==(0., 0.)
        assert not model.training

def test_scores_can_be_taken_again():
    pytest.importorskip('timm')
    from maca_net.runs.evaluate import evaluate_run
    again,stored = evaluate_run(OLD, device='cpu'),json.loads((OLD/'metrics.json').read_text())
    for k in ('accuracy', 'macro_accuracy', 'n', 'labels', 'confusion'): assert again[k]==stored[k], k

def test_nothing_of_the_writer_is_in_the_files():
    assert sorted(f.name for f in OLD.iterdir())==sorted(FILES)
    for f in OLD.iterdir():
        content = f.read_bytes()
        for part in (b'site-packages', b'/home/', b'/root/', b'/tmp/'): assert part not in content, (f.name, part)

def test_stored_runs_have_the_readings_of_their_keys():
    "A changed default of a reading would pass earlier runs off as runs with the new one"
    from maca_net.all import Store, plan, run_key
    from maca_net.lab.runner import other_readings
    seen = set()
    for folder in (f for f in (OLD.parents[2]/'results').iterdir() if f.is_dir()):
        store = Store(folder)
        for study in store.studies():
            for _,cfg in plan(study['experiment'], study['base'], study['seeds']):
                if not store.has(key := run_key(cfg)): continue
                seen.add(key)
                assert not (other := other_readings(store.row(key), cfg)), (key, other)
    assert len(seen)>100
