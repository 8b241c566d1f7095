"Numbers in prose: each decimal of the README's results and of the findings stands in the output of an executed report"
import json, re
from pathlib import Path
import pytest

NBS = Path(__file__).parent.parent/'nbs'

def cells(name): return json.loads((NBS/name).read_text(encoding='utf-8'))['cells']

def printed(name):
    "All text that a notebook has printed"
    outputs = [o for c in cells(name) for o in c.get('outputs', [])]
    shown = [t for o in outputs for k,t in o.get('data', {}).items() if k.startswith('text/')]
    return ' '.join(''.join(t) for t in [*(o.get('text', '') for o in outputs), *shown])

def decimals(text): return set(re.findall(r'(?<![\d.])\d+\.\d+(?!\d|\.\d)', text))

@pytest.fixture(scope='module')
def in_reports():
    found = decimals(' '.join(printed(f.name) for f in NBS.glob('paper.*.ipynb')))
    assert len(found)>500                                      # else nothing was executed
    return found

def test_decimals_are_found(): assert decimals('87.65 ± 0.22, 3.10.2, .5, (1.75)')=={'87.65', '0.22', '1.75'}

@pytest.mark.parametrize('name,start,end', [
    ('index.ipynb', '## What came out', '## In Jupyter'), ('findings.ipynb', '#', None)])
def test_numbers_stand_in_a_report(in_reports, name, start, end):
    text = '\n'.join(''.join(c['source']) for c in cells(name))
    text = text[text.index(start):text.index(end) if end else None]
    said = decimals(re.sub(r'`[^`]*`', '', text))
    assert said and not (said-in_reports), sorted(said-in_reports)

def test_purposes_are_what_the_notebooks_have_printed():
    "maca_net/purpose.csv, against the kept outputs of the method notebooks"
    import csv, runpy
    ns = runpy.run_path(str(NBS.parent/'scripts'/'purpose.py'))
    now = ns['read_figures']()
    with open(ns['FILE'], newline='', encoding='utf-8') as f: kept = list(csv.DictReader(f))
    assert kept==now, 'run scripts/purpose.py'
    for r in kept: float(r['figure']), float(r['simple_figure'])
