"""The documentation site: `python docs/make_site.py` writes it to the folder `site`, as `make docs` does.

Pages in Markdown are written to `build/docs` first: one from each notebook, one from each page of prose, one for each
data set. MkDocs makes the site from them. Nothing is executed; of the package, the light modules are imported, for the
registry of the data sets and the readings."""
import os, re, shutil, subprocess, sys, textwrap
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path, PurePosixPath
import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]
from notebook_pages import (Later, as_page, definitions, directives, plain, patched_class, read_notebook, source_of,
    without_directives)

# Source -> name of the page, label in the navigation, tab
PROSE = {
    'docs/glossary.md': ('glossary', 'Glossary', 'Background'),
    'docs/readings.md': ('readings', 'What the paper leaves open', 'Background'),
    'docs/reproducibility.md': ('reproducibility', 'Reproducibility checklist', 'Background'),
    'results/README.md': ('results', 'Stores of results', 'Background'),
    'maca_net/weights/README.md': ('model', 'Model card', 'Data and model'),
    'data/README.md': ('data', 'Data', 'Data and model'),
    'data/synth.md': ('data.synth', 'Generated faces', 'Data and model'),
    'data/ferplus.md': ('data.ferplus', 'FERPlus', 'Data and model'),
    'data/rafdb.md': ('data.rafdb', 'RAF-DB', 'Data and model'),
    'data/folder.md': ('data.folder', 'Your own images', 'Data and model'),
    'data/pack.md': ('data.pack', 'A data set in one file', 'Data and model'),
    'CONTRIBUTING.md': ('contributing', 'Contributing', 'Development'),
    'CHANGELOG.md': ('changelog', 'Changes', 'Development')}
FIRST = 'findings', 'paper.summary'                     # of the reports
TOP = 'maca_net'                                        # what modules outside of a folder are listed under

def settings():
    "What settings.ini says"
    cfg = ConfigParser(delimiters=['='])
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']

def git_url(path): return f'{settings()["git_url"]}/blob/main/{path}'

# Links

# A link or picture, a picture in HTML, a notebook by its number, a piece of code
LINKED = (r'(?P<label>!?\[[^\]\n]*\])\((?P<target>[^)\s]+)(?P<rest>[^)]*)\)', r'(?P<tag><img[^>]*src=")(?P<src>[^"]+)"',
    r'\b[Nn]otebook (?P<number>\d\d[a-z]?)\b', r'(?<!`)`(?P<code>[^`\n]+)`(?!`)')

# Functions whose names are also words of the text; with their module (`schema.flag`) they become links
WORDS = 'flag', 'number', 'serve', 'status', 'summary', 'whole'

class Links:
    "Turns names of definitions, modules, notebooks and files into links"
    def __init__(self, notebooks, pictures):
        self.pictures,self.pages,self.names,self.numbers = pictures,{},{},{}
        for n in notebooks:
            for known in (n.name, n.file.stem, n.file.name):
                self.pages |= {known: f'{n.name}.md', f'nbs/{known}': f'{n.name}.md'}
            if n.module: self.numbers[n.number] = self.pages[f'nbs/{n.number}'] = f'{n.name}.md'
            for d in definitions_of(n): self.names |= dict.fromkeys(full_names(d, n.name), f'{n.name}.md#{d.name}')
        self.pages |= {source: f'{page}.md' for source,(page,*_) in PROSE.items()}
        self.pages['README.md'] = 'index.md'

    def of_code(self, code):
        "The page, with its anchor, that a piece of code in the text names; None where it names nothing known"
        name = re.sub(r'\(.*\)$|^maca_net\.', '', code)
        name = re.sub(r'^learn\.', 'Learner.', name)
        owner = name.rpartition('.')[0]                  # of a method that its class defines
        return self.pages.get(name) or self.names.get(name) or self.names.get(owner*owner[:1].isupper())

    def of_target(self, target, source):
        "What a link of the file `source` leads to on the site"
        if re.match(r'[a-z]+:|#', target): return target
        path,_,anchor = target.partition('#')
        for base in (source.parent, ROOT):
            file = Path(os.path.normpath(base/path))
            if not file.exists(): continue
            name = str(PurePosixPath(file.relative_to(ROOT)))
            if file.suffix in ('.png', '.jpg', '.svg', '.gif', '.webp'): return self.picture(file)
            return self.pages.get(name, git_url(name)) + f'#{anchor}'*bool(anchor)
        return target                                    # MkDocs checks the names of pages

    def picture(self, file):
        shutil.copy(file, self.pictures/file.name)
        return f'pictures/{file.name}'

    def __call__(self, text, source, page):
        "Markdown `text` of the file `source` with links, but for its code and headings"
        parts = re.split(r'(^(`{3,}|~{3,})[^\n]*\n.*?^\2`*[ ]*$|^#+ [^\n]*$|^ {4}[^\n]*$)', text, flags=re.M|re.S)
        return ''.join(p if i%3==1 else '' if i%3==2 else self.prose(p, source, page) for i,p in enumerate(parts))

    def prose(self, text, source, page):
        def link(m):
            if m['label'] is not None: return f'{m["label"]}({self.of_target(m["target"], source)}{m["rest"]})'
            if m['src'] is not None: return f'{m["tag"]}{self.of_target(m["src"], source)}"'
            if m['number'] is not None:
                to = self.numbers.get(m['number'])
                return f'[{m[0]}]({to})' if to and to!=page else m[0]
            to = self.of_code(m['code'])
            return f'[{m[0]}]({to})' if to and to.partition('#')[0]!=page else m[0]
        return re.sub('|'.join(LINKED), link, text)

def exported(notebook):
    "The source of each exported cell"
    sources = [source_of(c) for c in notebook.cells if c['cell_type']=='code']
    return [without_directives(s) for s in sources if directives(s) & {'export', 'exports'}]

def definitions_of(notebook):
    "The definitions that have an entry on a notebook's page"
    return [d for s in exported(notebook) for d in definitions(s)]

def full_names(definition, module):
    "The names by which the text may call a definition; a method that is patched into a class goes with its class"
    owner = patched_class(definition)
    if owner: return [f'{owner}.{definition.name}']
    return [f'{module}.{definition.name}', *[definition.name]*(definition.name not in WORDS)]

# Pages

def module_note(n):
    "Below the title: what to import, where the source is"
    source = f'[Notebook]({git_url(f"nbs/{n.file.name}")})'
    return f'`from maca_net.{n.module} import *` · {source}' if n.module else source

def notebook_page(n, links, later):
    "The page of a notebook: title, subtitle, where it stands, then its cells"
    fold = 'tests' if n.module else 'all' if is_report(n) else 'none'
    text = as_page(n, fold, later, lambda text,n: links(text, n.file, f'{n.name}.md'))
    if n.name=='index': return text
    title = r'\A(.*?^# .*?\n(?:\n?>.*?\n)?)'
    return re.sub(title, lambda m: f'{m[1]}\n{module_note(n)}\n\n', text, count=1, flags=re.M|re.S)

def with_head(text, page):
    "The Markdown of a page with its head: a description for search engines, from the title and the text below it"
    title,_,below = text[re.search('^# ', text, re.M).end():].partition('\n')
    first = next((p for p in re.split(r'\n\s*\n', below.strip()) if re.match(r'(> )?[`*\[]*\w', p)), '')
    about = textwrap.shorten(plain(f'{title}: {first.removeprefix("> ")}'.rstrip(': ')), 200, placeholder=' ...')
    head = dict(description=about, **{'hide': ['navigation']} if page=='index' else {})
    return f'---\n{yaml.safe_dump(head)}---\n\n{text}'

def is_tutorial(n): return n.file.stem.startswith('tutorial.')
def is_report(n): return n.file.stem.startswith('paper.') or n.file.stem in ('findings', 'speed')

def table(rows, head=('', '')):
    "A table in Markdown"
    def row(cells): return '| ' + ' | '.join(str(c).replace('|', r'\|') for c in cells) + ' |'
    return '\n'.join([row(head), '|' + '---|'*len(head), *map(row, rows)]) + '\n'

def words(names): return ', '.join(f'`{n}`' for n in names)

def data_sets():
    "The data sets of the registry"
    from maca_net.options import DATASETS
    return DATASETS.values()

def data_card(spec):
    "What the registry says of a data set, as Markdown"
    from maca_net.core import EXPRESSIONS, sort_vocab
    from maca_net.data.faces import PUBLISHED
    counts = PUBLISHED[PUBLISHED.dataset==spec.name]
    vocab = sort_vocab(counts.item[counts.item!='all']) or ([] if spec.own else list(EXPRESSIONS))
    rows = [('what it is', spec.about), ('reader', f'`{spec.read.__module__}.{spec.read.__name__}`'),
        ('options of `maca_train`', words(f'--{o.replace("_", "-")}' for o in spec.options)),
        ('classes', ', '.join(vocab) or 'those of the folders'), ('votes of annotators', 'yes' if spec.votes else 'no'),
        ('images a batch, by default', spec.bs), ('licence', f'{spec.licence} (`{spec.licence_id}`)'),
        ('labels', spec.label_note)]
    return '## Card\n\n' + table(rows) + ('\n' + published_counts(counts) if len(counts) else '')

def published_counts(counts):
    """The published number of images: a row for each split and label rule, a column for each class where they are
    published by class"""
    from maca_net.core import sort_vocab
    items = [*sort_vocab(counts.item[counts.item!='all']), 'all']
    number = {(str(r.rule), r.split, r.item): f'{r.images:,}' for r in counts.itertuples()}
    rows = [(' '.join(o for o in (split, rule) if o!='nan'), *(number.get((rule, split, i), '') for i in items))
        for rule,split in dict.fromkeys((rule,split) for rule,split,_ in number)]
    return '### Published counts\n\n' + table(rows, ('', *items[:-1], 'images'))

def with_card(text, spec):
    "A page on a data set with its card below the title"
    title,_,rest = text.strip().partition('\n')
    return f'{title}\n\n{data_card(spec)}\n## Files and faults\n\n{rest.strip()}\n'

def reading_facts(field, choices):
    "The default of a reading, and its other choices"
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    others = words(c for c in choices if c!=default) + ', or a number from 0 to 1'*(field.name=='alpha')
    return f'Default of `maca`: `{default}`.' + f' Others: {others}.'*bool(others)

def readings_page(text):
    """docs/readings.md with the choices of each reading from the code. Raises `ValueError` for a reading that the page
    leaves out"""
    from maca_net.models.readings import ALPHAS, CHOICES, STARTS, Readings
    known = {f.name: f for f in fields(Readings)}
    choices = {**CHOICES, 'alpha': ALPHAS, 'channel_start': STARTS}
    written = re.findall(r'^### `(\w+)`', text, re.M)
    if sorted(written)!=sorted(known): raise ValueError('docs/readings.md and models.readings differ in '
        f'{sorted(set(written)^set(known))}: each reading has one heading')
    def facts(m):
        f = known[m[1]]
        options = choices.get(m[1], ('false', 'true') if isinstance(f.default, bool) else ())
        return f'{m[0].rstrip()} {{ #{m[1]} }}\n\n{reading_facts(f, options)}'
    return re.sub(r'^### `(\w+)`.*$', facts, text, flags=re.M)

def prose_pages(links):
    "(name of a page, its Markdown) for the pages of prose, and for the data sets that have no page of prose"
    specs = {f'data/{s.name}.md': s for s in data_sets()}
    for source,(page,*_) in PROSE.items():
        text = (ROOT/source).read_text(encoding='utf-8')
        if source=='docs/readings.md': text = readings_page(text)
        if source in specs: text = with_card(text, specs[source])
        yield page, links(text, ROOT/source, f'{page}.md')
    for s in data_sets():
        if f'data/{s.name}.md' in PROSE: continue
        yield f'data.{s.name}', links(f'# `{s.name}`\n\n{data_card(s)}', ROOT/'docs'/'none.md', '')

# Navigation

def navigation(notebooks):
    "The tabs of the site and what stands below each"
    def label(n): return n.module.rpartition('.')[2] if n.module else n.title.replace('`', '')
    def of(some): return [{label(n): f'{n.name}.md'} for n in some]
    tutorials = [n for n in notebooks if is_tutorial(n)]
    others = [n for n in notebooks if not (n.module or is_report(n) or is_tutorial(n) or n.name=='index')]
    rank = {name: i for i,name in enumerate(FIRST)}
    reports = sorted(filter(is_report, notebooks), key=lambda n: rank.get(n.name, len(FIRST)))
    groups = {}
    for n in notebooks:
        if n.module: groups.setdefault(n.module.partition('.')[0] if '.' in n.module else TOP, []).append(n)
    def prose(tab): return [{label: f'{page}.md'} for page,label,t in PROSE.values() if t==tab]
    cards = [{s.name: f'data.{s.name}.md'} for s in data_sets() if f'data/{s.name}.md' not in PROSE]
    return [{'Start': 'index.md'}, {'Tutorials': of(tutorials)}, {'Reports': of(reports)},
        {'Background': prose('Background')}, {'Data and model': prose('Data and model') + cards},
        {'Modules': [{g: of(ns)} for g,ns in groups.items()]}, {'Development': prose('Development') + of(others)}]

def write_pages(folder):
    "All pages in Markdown, with their pictures, in `folder`. Returns the folder of pages, the notebooks, and a `Later`"
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder/'pages'
    pictures = pages/'pictures'
    pictures.mkdir(parents=True)
    shutil.copytree(DOCS/'assets', pages/'assets', ignore=shutil.ignore_patterns('*.md'))
    notebooks = [read_notebook(f) for f in sorted((ROOT/'nbs').glob('*.ipynb'))]
    links,later = Links(notebooks, pictures),Later(pictures)
    written = {n.name: notebook_page(n, links, later) for n in notebooks} | dict(prose_pages(links))
    for page,text in written.items(): (pages/f'{page}.md').write_text(with_head(text, page), encoding='utf-8')
    return pages, notebooks, later

def build(site, folder):
    "The site in the folder `site`, whose old content is removed. `folder`: for the pages in Markdown, emptied first"
    pages,notebooks,later = write_pages(folder)
    config = folder/'mkdocs.yml'
    config.write_text(yaml.safe_dump(dict(INHERIT=str(DOCS/'mkdocs.yml'), docs_dir=str(pages), site_dir=str(site),
        nav=navigation(notebooks)), sort_keys=False), encoding='utf-8')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--quiet', '--strict', '-f', str(config)]
    subprocess.run(command, check=True, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'})
    for f in site.glob('*.html'): f.write_text(later.fill(f.read_text(encoding='utf-8')), encoding='utf-8')

def main():
    try: build(ROOT/'site', ROOT/'build'/'docs')
    except (subprocess.CalledProcessError, ValueError) as e: sys.exit(f'docs/make_site.py: {e}')

if __name__=='__main__': main()
