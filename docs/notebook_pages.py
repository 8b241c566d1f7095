"""A notebook as a page in Markdown: its text, what its stored outputs show, and its exported definitions as signature,
docstring and table of parameters. Nothing is imported or executed: the definitions are read from their source."""
import ast, base64, hashlib, html, io, json, re, tokenize
from dataclasses import dataclass, field
from pathlib import Path
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

WIDTH = 88                                              # characters of a signature on one line

def source_of(cell): return ''.join(cell['source'])
def directives(source): return set(re.findall(r'^#\| ?(\w+)', source, re.M))
def without_directives(source): return re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip('\n')

@dataclass
class Notebook:
    "A notebook and what its page needs to know about it"
    file:Path
    cells:list = field(repr=False)
    module:str|None                                     # Such as 'models.heads'; None: it exports nothing

    @property
    def name(self): return self.module or self.file.stem
    @property
    def number(self): return self.file.stem.partition('_')[0] if self.module else None
    @property
    def title(self):
        "The first heading"
        texts = (source_of(c) for c in self.cells if c['cell_type']=='markdown')
        return next(m[1] for t in texts if (m := re.search(r'^# (.+)$', t, re.M)))

def read_notebook(file):
    "The notebook in `file`"
    cells = json.loads(file.read_text(encoding='utf-8'))['cells']
    found = (re.search(r'^#\| ?default_exp (\S+)', source_of(c), re.M) for c in cells)
    return Notebook(file, cells, next((m[1] for m in found if m), None))

# Definitions

def comments(source):
    "Line -> the comment behind its code"
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip('#').strip() for t in tokens if t.type==tokenize.COMMENT}

def is_public(node): return not node.name.startswith('_')

def definitions(source):
    "The public functions and classes of a cell"
    kinds = ast.FunctionDef,ast.AsyncFunctionDef,ast.ClassDef
    return [n for n in ast.parse(source).body if isinstance(n, kinds) and is_public(n)]

def patched_class(node):
    "The class that fastcore's `patch` makes a function a method of, None for another definition"
    if not any(ast.unparse(d).startswith('patch') for d in node.decorator_list): return None
    return ast.unparse(node.args.args[0].annotation)

def is_dataclass(node): return any('dataclass' in ast.unparse(d) for d in node.decorator_list)

def written(arg, default):
    "A parameter as it stands in the signature"
    kind = f': {ast.unparse(arg.annotation)}' if arg.annotation else ''
    if default is None: return arg.arg + kind
    return arg.arg + kind + (' = ' if kind else '=') + ast.unparse(default)

def parameters(function):
    "(name, line, as written) of each parameter of a function, in its order, without `self`"
    a = function.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None]*(len(plain)-len(a.defaults)) + a.defaults
    out = [(p.arg, p.lineno, written(p, d)) for p,d in zip(plain, defaults)]
    if a.vararg: out.append((f'*{a.vararg.arg}', a.vararg.lineno, '*' + written(a.vararg, None)))
    elif a.kwonlyargs: out.append(('*', 0, '*'))
    out += [(p.arg, p.lineno, written(p, d)) for p,d in zip(a.kwonlyargs, a.kw_defaults)]
    if a.kwarg: out.append((f'**{a.kwarg.arg}', a.kwarg.lineno, '**' + written(a.kwarg, None)))
    return out[1:] if out and out[0][0] in ('self', 'cls') else out

def dataclass_fields(node):
    "(name, line, as written) of each field of a dataclass"
    lines = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    return [(n.target.id, n.lineno, ast.unparse(n).replace(':', ': ', 1).replace(':  ', ': ')) for n in lines]

def initializer(node): return next((n for n in node.body if getattr(n, 'name', '')=='__init__'), None)

def asked_for(node):
    "The parameters of a function or a class"
    if not isinstance(node, ast.ClassDef): return parameters(node)
    if is_dataclass(node): return dataclass_fields(node)
    start = initializer(node)
    return parameters(start) if start else []

def signature(node):
    "How a function or class is called, one line where it fits, else a line a parameter"
    parts,is_class = [w for _,_,w in asked_for(node)],isinstance(node, ast.ClassDef)
    bases = f'  # {", ".join(map(ast.unparse, node.bases))}' if is_class and node.bases else ''
    back = f' -> {ast.unparse(node.returns)}' if not is_class and node.returns else ''
    line = f'{node.name}({", ".join(parts)}){back}{bases}'
    if len(line)<=WIDTH: return line
    return f'{node.name}(\n' + ''.join(f'    {p},\n' for p in parts) + f'){back}{bases}'

def returned(node, said):
    "The comment behind a function's return, or nothing"
    if isinstance(node, ast.ClassDef): return ''
    last = max([line for _,line,_ in parameters(node)], default=node.lineno)
    lines = range(last, node.body[0].lineno)
    used = {line for _,line,_ in parameters(node)}
    return next((said[l] for l in lines if l in said and l not in used), '')

def as_prose(text):
    "A docstring or a comment as Markdown: what stands in backticks is code, all else is text"
    parts = re.split(r'(`[^`]*`)', ' '.join(text.split()))
    return ''.join(p if p.startswith('`') else re.sub(r'([\\*_\[\]$|<>{}])', r'\\\1', p).replace(r'\<', '&lt;')
        .replace(r'\>', '&gt;').replace(r'\$', '&#36;').replace(r'\|', '&#124;') for p in parts)

def plain(text):
    "The words of Markdown, without links and marks of code and emphasis"
    return re.sub(r'[`*]', '', re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text))

def parameter_table(node, said):
    "What is known about each parameter, and about what comes back. Parameters on one line share its comment"
    by_line = {}
    for name,line,_ in asked_for(node): by_line.setdefault(line, []).append(name)
    rows = [(', '.join(f'`{n}`' for n in names), said[line]) for line,names in by_line.items() if line in said]
    if back := returned(node, said): rows.append(('*returns*', back))
    if not rows: return ''
    return '\n'.join(['| | |', '|---|---|', *(f'| {a} | {as_prose(b)} |' for a,b in rows)]) + '\n'

def methods(node):
    "A list of the public methods of a class that say what they do"
    if not isinstance(node, ast.ClassDef): return ''
    found = [(n, ast.get_docstring(n)) for n in node.body if isinstance(n, ast.FunctionDef) and is_public(n)]
    def call(n): return f'{n.name}({", ".join(w for *_,w in parameters(n))})'
    return ''.join(f'- `{call(n)}`: {as_prose(doc)}\n' for n,doc in found if doc)

def fenced(code, lang='python'):
    "A block of code whose fence the code cannot close"
    fence = '`'*max(3, 1+max(map(len, re.findall('`+', code)), default=0))
    return f'{fence}{lang}\n{code}\n{fence}\n'

def described(node, source, level):
    "The entry of a function or class: heading, signature, docstring, parameters, methods"
    said = comments(source)
    doc = as_prose(ast.get_docstring(node) or '')
    heading = f'{"#"*level} `{node.name}` {{ #{node.name} .definition }}\n'
    parts = [heading, fenced(signature(node)), doc + '\n'*bool(doc), parameter_table(node, said), methods(node)]
    return '\n'.join(p for p in parts if p)

# Cells

class Later:
    """HTML that is put into the finished pages: MkDocs would spend most of its time on code that nobody searches for"""
    def __init__(self, pictures): self.pictures,self.pieces = pictures,[]

    def __call__(self, content):
        "What stands for `content` in Markdown"
        self.pieces.append(content)
        return f'<div data-later="{len(self.pieces)-1}"></div>\n'

    def fill(self, page):
        "The HTML of a finished page with all its pieces"
        return re.sub(r'<div data-later="(\d+)"></div>', lambda m: self.pieces[int(m[1])], page)

LEXER,FORMATTER = PythonLexer(),HtmlFormatter(nowrap=True)

def folded(kind, summary, code):
    "Code that opens by a click"
    return (f'<details class="{kind}"><summary>{summary}</summary><div class="highlight"><pre><code>'
        f'{highlight(code, LEXER, FORMATTER)}</code></pre></div></details>')

def as_pre(text):
    "Printed text; of a line that a bar wrote over, what was left"
    lines = [l.rpartition('\r')[2] for l in re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', text).rstrip('\n').split('\n')]
    kind = 'output short' if len(lines)<4 else 'output'                # lines of text, not a table
    return f'<div class="{kind}"><pre>' + html.escape('\n'.join(lines), quote=False) + '</pre></div>'

PICTURES = {'image/jpeg': '.jpg', 'image/png': '.png', 'image/gif': '.gif', 'image/webp': '.webp'}

def as_picture(data, ending, about, pictures):
    "The picture, kept in the folder `pictures` under its hash; `about`: what stands for it where it cannot be seen"
    content = base64.b64decode(data)
    name = hashlib.sha256(content).hexdigest()[:16] + ending
    (pictures/name).write_bytes(content)
    return f'<div class="output picture"><img src="pictures/{name}" alt="{html.escape(about)}" loading="lazy"></div>'

def joined(value): return ''.join(value) if isinstance(value, list) else value

def shown(output, heading, later):
    "A stored output, in the section under `heading`, as Markdown"
    if output['output_type']=='stream': return later(as_pre(joined(output['text'])))
    if output['output_type']=='error': return later(as_pre('\n'.join(output['traceback'])))
    data = output['data']
    kind = next((k for k in PICTURES if k in data), None)
    if kind: return later(as_picture(joined(data[kind]), PICTURES[kind], f'Figure: {heading}', later.pictures))
    if 'text/markdown' in data: return joined(data['text/markdown']) + '\n'
    if 'text/html' not in data: return later(as_pre(joined(data['text/plain'])))
    content = re.sub('<style.*?</style>', '', joined(data['text/html']), flags=re.S)
    return later(f'<div class="output">{with_column_classes(one_header(content))}</div>')

def one_header(table):
    "A table of pandas with the name of its index and those of its columns on one line, where pandas writes two"
    empty,name = r'<th[^>]*></th>',r'<th[^>]*>([^<]+)</th>'
    columns = rf'(<thead>\s*<tr[^>]*>\s*){empty}((?:(?!</tr>).)*</tr>)'
    index = rf'\s*<tr[^>]*>\s*{name}(?:\s*{empty})+\s*</tr>(\s*</thead>)'
    return re.sub(columns+index, r'\1<th>\3</th>\2\4', table, flags=re.S)

def column_class(cells):
    "How a column of a table is set: words from the left, long ones with room, numbers from the right"
    filled = [c for c in cells if c.strip()]
    words = [c for c in filled if re.match('[A-Za-z]', c) or len(c)>21]
    if 2*len(words)<=len(filled): return ''
    return ' class="words wide"' if max(map(len, words))>29 else ' class="words"'

def with_column_classes(table):
    "A table whose columns of words are marked as such, header and cells"
    rows = re.split(r'(?=<tr)', table)
    cells = [re.findall(r'<td>(.*?)</td>', r, re.S) for r in rows]
    width = max(map(len, cells))
    kinds = [column_class([c[j] for c in cells if len(c)==width]) for j in range(width)]
    def marked(row, tag):
        n = len(re.findall(f'<{tag}>', row))
        if n<width: return row
        kind = iter(['']*(n-width) + kinds)
        return re.sub(f'<{tag}>', lambda m: f'<{tag}{next(kind)}>', row)
    return ''.join(marked(marked(r, 'td'), 'th') if width else r for r in rows)

def imports_alone(code): return all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(code).body)

def counted(code):
    n = len(code.splitlines())
    return f'{n} line' + 's'*(n!=1)

def code_cell(cell, heading, level, fold, later):
    """A code cell: exported definitions as entries, then what it shows. `heading`: of its section. `fold`: the code to
    fold, of 'tests', 'all' or 'none'"""
    source = source_of(cell)
    marks,code = directives(source),without_directives(source)
    if marks & {'hide', 'default_exp'} or not code.strip(): return ''
    outputs = [shown(o, heading, later) for o in cell['outputs']]
    if marks & {'export', 'exports'}:
        entries = [described(n, code, level) for n in definitions(code)]
        if imports_alone(code): return ''
        return '\n'.join([*entries, later(folded('source', f'Source, {counted(code)}', code)), *outputs])
    is_test = not outputs and re.search(r'\btest_\w+\(|\bassert\b', code)
    if is_test and fold!='none': return later(folded('test', f'Test, {counted(code)}', code))
    block = later(folded('source', f'Code, {counted(code)}', code)) if fold=='all' else fenced(code)
    return '\n'.join([block, *outputs])

def as_page(notebook, fold, later, linked):
    """The Markdown of a notebook's page. `fold`: as in `code_cell`. `later`: a `Later`. `linked`: the text of a cell ->
    with links"""
    parts,heading,level = [],notebook.title,3
    for i,cell in enumerate(notebook.cells):
        if cell['cell_type']=='markdown':
            text = source_of(cell)
            if found := re.findall(r'^(#+) (.+)$', text, re.M):
                level,heading = min(max(len(found[-1][0])+1, 3), 5),plain(found[-1][1])
            parts.append(linked(text, notebook) + '\n')
        elif cell['cell_type']=='code': parts.append(code_cell(cell, heading, level, fold, later))
    return '\n'.join(p for p in parts if p)
