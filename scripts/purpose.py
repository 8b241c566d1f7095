"""Write the figures of maca_net/purpose.csv: what the method notebooks have printed.

    (cd nbs && nbdev-test --flags slow --save 43_methods.scn.ipynb)    # when the notebook has changed
    python3 scripts/purpose.py

The columns `found` and `simple_found` say where a figure stands in the kept outputs of the method's notebook:
'ROW | COLUMN' of a displayed table, or a pattern whose group is the figure (of several hits: their mean)."""
import csv, html, json, re
from pathlib import Path
from maca_net.lab.experiments import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT/'maca_net'/'purpose.csv'
METHOD = {l: o['method'] for e in ('table2', 'controls') for l,o in EXPERIMENTS[e].cells.items()}

def outputs(method):
    "(printed text, displayed tables) of a method's notebook; a table is a list of rows of text"
    nb, = (ROOT/'nbs').glob(f'[0-9]*_methods.{method}.ipynb')
    kept = [o for c in json.loads(nb.read_text(encoding='utf-8'))['cells'] for o in c.get('outputs', [])]
    text = '\n'.join(''.join(o.get('text', '')) for o in kept)
    pages = [''.join(o['data']['text/html']) for o in kept if 'text/html' in o.get('data', {})]
    def cells(row): return [html.unescape(c).strip() for c in re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row, re.S)]
    return text,[[cells(r) for r in re.findall(r'<tr.*?</tr>', p, re.S)] for p in pages]

def figure(where, text, tables):
    "The figure as it was printed. Raises `ValueError` where it is not there"
    row,_,column = where.partition(' | ')
    if column: hits = [r[t[0].index(column)] for t in tables if column in t[0] for r in t if r[0]==row]
    else: hits = re.findall(where, text, re.M)
    if not hits: raise ValueError(f'no output of the notebook fits {where!r}: execute the notebook, or mend {FILE.name}')
    return hits[0] if len(hits)==1 else f'{sum(map(float, hits))/len(hits):.0f}'

def read_figures():
    "The rows of the file, with the figures that the notebooks print"
    with open(FILE, newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    for r in rows:
        kept = outputs(METHOD[r['label']])
        try: r['figure'],r['simple_figure'] = figure(r['found'], *kept),figure(r['simple_found'], *kept)
        except ValueError as e: raise ValueError(f"{r['label']}, {r['measure']}: {e}") from None
    return rows

if __name__=='__main__':
    rows = read_figures()
    with open(FILE, 'w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, rows[0], lineterminator='\n')
        w.writeheader()
        w.writerows(rows)
