"The lab from outside: stopped or killed and continued, reports on a store with some runs missing."
import os, shutil, signal, subprocess, sys, time
from dataclasses import asdict
from pathlib import Path
import forked, numpy as np, pytest
from maca_net.all import EXPERIMENTS, RunConfig, Store, plan, run_key, scale_config, scale_name

LAB = Path(sys.executable).parent/'maca_lab'
NBS = Path(__file__).parent.parent/'nbs'
ENV = {**os.environ, 'MPLBACKEND': 'Agg'}

# a shell's background jobs ignore Ctrl-C, and so would what they start
def hear_ctrl_c(): signal.signal(signal.SIGINT, signal.SIG_DFL)

def lab(*args): return forked.run(LAB, *args, env=ENV)

def add_run(store, cfg, acc, seed, intra=1., blind=False, n=400):
    "Add a run with drawn predictions, and with answers for blind faces if that is asked for"
    k,rng,y = run_key(cfg),np.random.default_rng(seed),np.arange(n)%4
    hit = rng.random(n)<acc
    p = dict(names=np.array([f'{o}.png' for o in range(n)]), target=y, probs=np.eye(4)[np.where(hit, y, (y+1)%4)],
        seen=np.arange(n)<40, tsne=rng.normal(size=(n,2))+3*np.eye(4)[y][:,:2])
    c = dict(silhouette=.1, knn_accuracy=.8, intra=intra+.01*seed, inter=2., intra_inter=.5)
    confusion = [[int((hit & (y==j)).sum()) if j==m else int((~hit & (y==j)).sum())*(m==(j+1)%4) for m in range(4)]
        for j in range(4)]
    store.add(k, dict(asdict(cfg), key=k, finished=f'{seed:04}', error=None, n=n, scale=scale_name(cfg),
        labels=['neutral', 'happiness', 'surprise', 'sadness'], confusion=confusion, accuracy=float(hit.mean()),
        history=dict(accuracy=[.5, float(hit.mean())]), accuracy_deduplicated=float(hit[40:].mean()),
        macro_accuracy=float(hit.mean()), last_accuracy=float(hit.mean()), hours=.3, clusters=c), p,
        dict(names=p['names'], probs=p['probs'].astype(np.float16)) if blind else None)

def fill(store, name, seeds, leave_out=(), blind=()):
    "A store as after the runs of an experiment on FERPlus; the cells of `blind` have answers for blind faces"
    base = scale_config(data='ferplus', path='')
    exp,store = EXPERIMENTS[name],Store(store)
    store.add_study(exp, base, list(range(seeds)))
    for i,(label,cfg) in enumerate(plan(exp, base, seeds)):
        if label in leave_out or store.has(run_key(cfg)): continue
        add_run(store, cfg, .8+.01*(i%len(exp.cells)), i, 1.+.1*(label=='AFC'), label in blind)
    return store

def report_on(store, folder, *args):
    "HTML of the reports on a store with some runs missing, by name"
    fill(store, 'table1', 2, leave_out=('heads with MI',), blind=('baseline',))
    r = lab('report', store, *args)
    assert r.returncode==0, r.stderr
    html = {Path(f).name: Path(f).read_text() for f in r.stdout.split()}
    names = [f'{f.stem}.html' for f in Path(folder).glob('paper.*.ipynb')]
    assert set(html)=={'index.html', *names}
    assert html['index.html'].index('paper.summary.html')<html['index.html'].index('paper.table1.html')
    for h in html.values(): assert '<td>missing</td>' not in h
    return html

@pytest.fixture
def two_reports(tmp_path):
    (tmp_path/'nbs').mkdir()
    for n in ('summary', 'table1'): shutil.copy(NBS/f'paper.{n}.ipynb', tmp_path/'nbs')
    return tmp_path/'nbs'

def test_report(tmp_path, two_reports):
    pytest.importorskip('nbconvert')
    html = report_on(tmp_path/'s', two_reports, '--notebooks', two_reports)
    rows = Store(tmp_path/'s').rows()
    planned = plan(EXPERIMENTS['table1'], scale_config(data='ferplus', path=''), 2)
    acc = 100*rows[rows.key.isin([run_key(c) for l,c in planned if l=='AFC'])].accuracy_deduplicated
    text = f'{acc.mean():.2f} ± {acc.std():.2f}'
    table1,summary = html['paper.table1.html'],html['paper.summary.html']
    assert text in table1 and text in summary
    for f,written in (('csv', text), ('tex', text.replace('±', r'$\pm$'))):       # next to the report, table by table
        tables = [o.read_text() for o in (tmp_path/'s'/'report').glob(f'paper.table1.*.{f}')]
        assert len(tables)>3 and any(written in t for t in tables)
    assert '2 of 2' in table1
    assert '<th>heads with MI</th>\n      <td>0 of 2' not in table1 and '1 of 6 cells has no run yet' in table1
    assert 'resnet18, 64 px, 12 epochs' in table1
    assert '84.51' in table1
    for part in ('<th>test (blind) %</th>', '<td>sealed</td>', '<td>-</td>'): assert part in table1
    assert 'from scratch' in table1
    for part in ('declares no comparisons', 'exploratory: ResNet-18, 64 px, 12 epochs', '2 runs against 2'):
        assert part in summary, part
    assert 'declared test' not in summary
    for h in (table1, summary): assert 'src="data:image/png;base64' in h             # whatever MPLBACKEND says

@pytest.mark.slow
def test_all_reports(tmp_path):
    "Each report of the package can do without the runs that are missing"
    pytest.importorskip('nbconvert')
    html = report_on(tmp_path/'s', NBS)
    assert len(html)==10
    assert 'src="data:image/png;base64' in html['paper.recommended.html']

def test_blind(tmp_path):
    "Labels that come later score every run that has answers; what does not fit is one line, and nothing is written"
    s = fill(tmp_path/'s', 'fig7', 2, blind=('AFC',))
    names = ['neutral', 'happiness', 'surprise', 'sadness']
    truth = {f'{i}.png': names[i%4] for i in range(400)}
    def labels(rows): (tmp_path/'l.csv').write_text('name,label\n' + ''.join(f'{n},{l}\n' for n,l in rows))
    for rows,says in (([*truth.items()][:-1], 'have no row'), ([*truth.items(), ('0.png', 'fear')], 'twice'),
            ([*truth.items(), ('x.png', 'fear')], 'no blind faces'),
            ([*truth.items()][1:] + [('0.png', 'rage')], 'rage')):
        labels(rows)
        r = lab('score-blind', s.path, tmp_path/'l.csv')
        assert r.returncode==2 and says in r.stderr and r.stderr.count('\n')==1, r.stderr
        assert not (s.path/'blind'/'scores.csv').exists()
    assert '2 of 4 finished runs have answers, sealed' in lab('status', s.path).stdout
    labels(truth.items())
    r = lab('score-blind', s.path, tmp_path/'l.csv')
    assert r.returncode==0, r.stderr
    rows,scores = s.rows(),s.blind_scores().set_index('key')
    assert set(scores.index)==set(rows.key[rows.has_blind]) and len(scores)==2
    for r in rows[rows.has_blind].itertuples(): assert scores.accuracy[r.key]==pytest.approx(r.accuracy, abs=1e-6)
    assert '2 scored' in lab('status', s.path).stdout

RUN = 'run fig7 --scale quick --n-faces 64 --size 32 --epochs 6 --seeds 1 --device cpu --store'.split()

def start(store):
    "The process of `maca_lab run`, once it has trained an epoch, which is not trained again"
    def epochs_done(): return sum(len(f.read_text().splitlines())-1 for f in store.path.glob('work/*/history.csv'))
    before = epochs_done()
    p = subprocess.Popen([LAB, *RUN, store.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV,
        preexec_fn=hear_ctrl_c)
    end = time.time()+600
    while epochs_done()<=before and p.poll() is None and time.time()<end: time.sleep(.05)
    assert p.poll() is None, p.communicate()
    return p

def check_interrupted(store):
    "The first run has begun and not ended, and no other was begun"
    assert len(store.rows())==0
    assert len(list(store.path.glob('work/*.log')))==1
    s = lab('status', store.path)
    assert 'stopped' in s.stdout, s.stdout + s.stderr

def test_stopped_then_killed_then_gone_on_with(tmp_path):
    """Ctrl-C after an epoch ends a run and starts no other; kill -9 of the command: its worker is gone within seconds.
    Each time the same command goes on, and only the time since the last checkpoint is lost"""
    store = Store(tmp_path/'s')
    p = start(store)
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=120)
    assert p.returncode==130 and 'stopped' in err and 'Traceback' not in err, err
    check_interrupted(store)
    p = start(store)
    key = next(store.path.glob('work/*.log')).stem
    assert store.is_running(key)
    p.send_signal(signal.SIGKILL)
    p.communicate(timeout=60)
    end = time.time()+30
    while store.is_running(key) and time.time()<end: time.sleep(.1)
    assert not store.is_running(key)                                    # its lock has fallen
    assert 'can be continued' in store.log(key).read_text()
    check_interrupted(store)
    r = lab(*RUN, store.path)
    assert r.returncode==0 and '2 of 2 done' in r.stdout, r.stdout + r.stderr
    assert (store.rows().epochs==6).all() and len(store.rows())==2

def test_the_study_runs_on_rafdb(tmp_path, monkeypatch):
    "The command of the README, with RAF-DB in place of FERPlus: declared, trained without votes, rows of seven classes"
    from maca_net.cli import lab as cli
    from maca_net.cli.base import command_output
    from maca_net.data.layouts import write_layout
    from maca_net.lab.tables import read_primary
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, '_machine', lambda *args: dict(workers=0))                # in this process
    small = '--scale quick --arch test_efficientnet --size 32 --epochs 1 --bs 16 --device cpu'.split()
    cells = ['MACA-Net', 'recommended']
    code,_,err = command_output(cli.maca_lab, 'run', 'primary', '--data', 'rafdb', '--path', 'RAF-DB', *small)
    assert code==2 and 'RAF-DB' in err and not Path('results/rafdb/primary.json').exists()     # nothing could begin
    write_layout('RAF-DB', 'rafdb', 70)
    code,out,err = command_output(cli.maca_lab, 'run', 'primary', '--data', 'rafdb', '--path', 'RAF-DB', *small,
        '--seeds', '1', '--no-tune', '--cells', *cells)
    assert code==0, out + err
    declared = read_primary('results/rafdb/primary.json')
    assert (declared['data'], len(declared['comparisons'])) == ('rafdb', 6)
    rows = Store('results/rafdb').rows()
    assert set(rows.method)=={'maca', 'baseline'}                        # recommended is the baseline with readings
    assert rows.error.isna().all() and {len(o) for o in rows.labels}=={7}

def test_primary_on_rafdb_is_the_study_of_ferplus(tmp_path, monkeypatch):
    """Without further options: the declared scale, five seeds, every rate tuned, all eight cells. The runs are not
    trained here: each gets answers at once. Then the six comparisons have p-values"""
    from maca_net.cli import lab as cli
    from maca_net.cli.base import command_output
    from maca_net.lab import runner
    from maca_net.lab.tables import primary_table, read_primary
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, '_machine', lambda *args: dict(workers=0))
    made = []
    def answers(path, config):
        cfg = RunConfig(**config)
        made.append(cfg)
        add_run(Store(path), cfg, .8 + .01*(cfg.method=='baseline'), seed=len(made))
    monkeypatch.setattr(runner, 'run_one', answers)
    code,out,err = command_output(cli.maca_lab, 'run', 'primary', '--data', 'rafdb', '--path', 'RAF-DB')
    assert code==0, out + err
    d,store = read_primary('results/rafdb/primary.json'),Store('results/rafdb')
    assert (d['scale'], d['seeds'], set(d['rates'].values())) == ('face', [0, 1, 2, 3, 4], {None})
    assert {c.size for c in made}=={112} and sum(c.seed<5 for c in made)==40
    assert sum(c.seed==100 for c in made)>=24
    t = primary_table(store, d)
    assert (t.runs_a==5).all() and (t.runs_b==5).all() and t.p_holm.notna().all()
    _,_,err = command_output(cli.maca_lab, 'run', 'primary', '--data', 'rafdb', '--path', 'RAF-DB', '--no-tune',
        '--seeds', '1', '--cells', 'AFC')
    assert 'declares tuned rates' in err
    _,_,err = command_output(cli.maca_lab, 'run', 'primary', '--data', 'rafdb', '--path', 'RAF-DB', '--epochs', '3',
        '--no-tune', '--seeds', '1', '--cells', 'AFC')
    assert 'declares runs with other options (dlib29, 112 px, 10 epochs' in err
