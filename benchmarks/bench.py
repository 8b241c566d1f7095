"""Measures how fast training, data loading and inference are, with their limits and a plain implementation beside them.

The variants of a comparison run in turns within one process, and medians are reported. Times differ between machines
and moments, so trust the ratios, not the milliseconds. `make bench` runs all sections (half an hour on two cores);
--only runs some. Each section replaces its part of results.json. nbs/speed.ipynb takes its numbers from there."""
import argparse, json, os, platform, statistics, subprocess, sys, tempfile, time, warnings
from pathlib import Path
import numpy as np, pandas as pd, torch, torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from fastai.vision.all import Callback
from maca_net.all import *

HERE = Path(__file__).parent
DEV = pick_device()
SCALES = {64: 64, 224: 32}       # size: batch
METHOD_OF = dict(plain='baseline', paper='maca')     # by the names that results.json has

def sync():
    if DEV.type=='cuda': torch.cuda.synchronize()

def clock(f, *args):
    sync(); t = time.perf_counter()
    f(*args)
    sync(); return time.perf_counter()-t

def in_turns(cases, rounds, warmup=2):
    "Median seconds of each of `cases` (name -> function), run in turns"
    for f in cases.values():
        for _ in range(warmup): f()
    times = {k: [] for k in cases}
    for _ in range(rounds):
        for k,f in cases.items(): times[k].append(clock(f))
    return {k: statistics.median(v) for k,v in times.items()}

class OneByOne(nn.Module):
    "The heads as the paper draws them, one after another"
    def __init__(self, n): super().__init__(); self.heads = nn.ModuleList(MHCA(n_heads=1) for _ in range(n))
    def forward(self, x): return torch.cat([h(x) for h in self.heads], 1)

def make_model(readings, precision, one_by_one=False, arch='resnet34', seed=0, **kw):
    "A network in training mode; `readings`: a `Readings`, or the name of a method that has some"
    torch.manual_seed(seed)
    m = MACANet(8, arch, readings=readings, **kw).train()
    if one_by_one: m.heads = OneByOne(m.readings.n_heads)
    m.precision = precision
    return m.to(DEV, memory_format=torch.channels_last if precision=='bf16' else torch.contiguous_format)

def batch(size, bs, precision='bf16'):
    g = torch.Generator().manual_seed(0)
    x,y = torch.randn(bs, 3, size, size, generator=g),torch.arange(bs)%8
    return x.to(DEV, memory_format=torch.channels_last if precision=='bf16' else torch.contiguous_format),y.to(DEV)

def loss_of(m, x, y):
    out,r = m(x),m.readings
    loss = F.cross_entropy(out['logits'], y)
    if r.afc_weight: loss = loss + r.afc_weight*afc_loss(out['features'], y, m.afc.centers, m.afc.theta)
    if r.mi_weight: loss = loss + r.mi_weight*mi_loss(out['heads'])
    return loss

def stepper(m, x, y):
    opt = torch.optim.SGD(m.parameters(), 1e-3, momentum=.9, weight_decay=1e-4)
    def step():
        loss = loss_of(m, x, y)
        opt.zero_grad(); loss.backward(); opt.step()
    return step

def flops(f):
    with FlopCounterMode(display=False) as c: f()
    return c.get_total_flops()

def limit(rounds):
    "The limit: how fast 3x3 convolutions are on this machine"
    def conv(dtype):
        x,w = (torch.randn(*s, dtype=dtype, device=DEV).to(memory_format=torch.channels_last)
               for s in ((32,256,14,14), (256,256,3,3)))
        return lambda: F.conv2d(x, w, padding=1)
    kinds = {'fp32': torch.float32, 'bf16': torch.bfloat16}
    with torch.no_grad():
        t = in_turns({k: conv(d) for k,d in kinds.items()}, 4*rounds)
    return {k: 2*32*14*14*256*256*9/v/1e9 for k,v in t.items()}

def train(rounds):
    "A step of ResNet-34: plain and MACA-Net, as this package runs it, with heads one by one, and in plain fp32"
    res = {}
    for size,bs in SCALES.items():
        cases,gflop = {},{}
        for name,args in {'plain': ('baseline', 'bf16'), 'maca': ('maca', 'bf16'),
                          'maca, heads one by one': ('maca', 'bf16', True), 'plain fp32': ('baseline', 'fp32'),
                          'maca fp32, heads one by one': ('maca', 'fp32', True)}.items():
            m,(x,y) = make_model(*args),batch(size, bs, args[1])
            cases[name] = stepper(m, x, y)
            gflop[name] = 3*flops(lambda: m(x))/1e9
        t = in_turns(cases, rounds)
        res[size] = {k: dict(ms=1e3*v, images_per_s=bs/v, gflops=gflop[k]/v, over_plain=v/t['plain'])
                     for k,v in t.items()}
    return res

def fit(rounds):
    "`learn.fit` from end to end (loader, callbacks, log, progress bar) against the bare step, and the loader alone"
    res = {}
    for size,bs in SCALES.items():
        for label,method in METHOD_OF.items():
            n = 12 if size<200 else 6
            dls = face_dls(read_synth(round(bs*n/.8)+8, 64, progress=False), size, bs)
            learn = maca_learner(dls, 'resnet34', method)
            class Steps(Callback):
                order,took = 90,[]
                def before_train(self): sync(); self.t = time.perf_counter()
                def after_train(self): sync(); self.took.append((time.perf_counter()-self.t)/len(self.dl))
            x,y = (o.as_subclass(torch.Tensor) for o in dls.one_batch())
            model = make_model(method, learn.model.precision)
            step,bare,alone = stepper(model, x.contiguous(memory_format=torch.channels_last), y),[],[]
            fit_cb = Steps()
            for _ in range(max(3, rounds//3)):
                learn.fit(1, 1e-3, cbs=fit_cb)
                bare += [clock(step) for _ in range(n)]
                t = time.perf_counter()
                k = sum(1 for _ in dls.train)
                sync(); alone.append((time.perf_counter()-t)/k)
            f,b,a = (statistics.median(o) for o in (fit_cb.took[1:], bare, alone))
            res[f'{size} px, {label}'] = dict(fit_ms=1e3*f, bare_ms=1e3*b, fit_over_bare_rate=b/f, loader_ms=1e3*a,
                                              loader_images_per_s=bs/a, loader_share=a/f)
    return res

def small_maps(rounds):
    "`learn.fit` with convolutions as they are and with matrix products for small maps (notebook 16b), epochs in turn"
    res = {}
    for arch,size,bs in (('resnet18', 64, 64), ('dlib29', 112, 64)):
        for label,method in METHOD_OF.items():
            dls = face_dls(read_synth(round(bs*6/.8)+8, 64, progress=False), size, bs)
            learn = maca_learner(dls, arch, method, last_stride=1)
            changed = [m for m in learn.model.modules() if isinstance(m, MatmulConv2d)]
            took = {nn.Conv2d: [], MatmulConv2d: []}
            class Clock(Callback):
                order = 90
                def before_train(self): sync(); self.t = time.perf_counter()
                def after_train(self): sync(); took[self.kind].append((time.perf_counter()-self.t)/len(self.dl))
            clock_cb = Clock()
            for _ in range(max(4, rounds//2)):
                for kind in took:
                    for m in changed: m.__class__ = kind
                    clock_cb.kind = kind
                    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=clock_cb)
            as_is,matmul = (statistics.median(o[1:]) for o in took.values())
            res[f'{arch}, {size} px, {label}'] = dict(convolutions=len(changed), conv_images_per_s=bs/as_is,
                matmul_images_per_s=bs/matmul, ratio=as_is/matmul)
    return res

class PILFaces(torch.utils.data.Dataset):
    "As the public FER repositories read data: a file an item, decoded, resized and augmented by PIL"
    def __init__(self, files, labels, size, augment=True):
        T = torchvision.transforms
        self.files,self.labels = files,labels
        move = T.RandomChoice([T.RandomRotation(20), T.RandomCrop(size, padding=size//7)])
        warp,erase = [T.RandomHorizontalFlip(), T.RandomApply([move], p=.2)],[T.RandomErasing(scale=(.02,.25))]
        self.tfm = T.Compose([T.Resize((size,size)), *warp*augment, T.ToTensor(), T.Normalize(*STATS['imagenet']),
                              *erase*augment])
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        with Image.open(self.files[i]) as im: return self.tfm(im.convert('RGB')),self.labels[i]

def loader(d, faces, size, bs, train=True, augment=True):
    "The images of `faces` as files, and a `DataLoader` that reads them"
    Path(d).mkdir()
    files = [Path(d)/f'{i}.png' for i in range(len(faces))]
    for f,a in zip(files, faces.images): Image.fromarray(a).save(f)
    ds = PILFaces(files, [faces.vocab.index(c) for c in faces.df.label], size, augment)
    return torch.utils.data.DataLoader(ds, bs, shuffle=train, drop_last=train, num_workers=2, persistent_workers=True)

def reference(rounds):
    "The straightforward loop (fp32, files through PIL, heads one by one) against `learn.fit`, ResNet-34"
    res = {}
    for size,bs in SCALES.items():
        n = bs*(10 if size<200 else 5)
        faces = read_synth(round(n/.8)+8, 64, progress=False)
        with tempfile.TemporaryDirectory() as d:
            dl = loader(f'{d}/train', faces.only('train'), size, bs)
            model = make_model('maca', 'fp32', True)
            opt = torch.optim.SGD(model.parameters(), 1e-3, momentum=.9, weight_decay=1e-4)
            def epoch():
                for x,y in dl:
                    loss = loss_of(model, x.to(DEV), y.to(DEV))
                    opt.zero_grad(); loss.backward(); opt.step()
            learn = maca_learner(face_dls(faces, size, bs), 'resnet34', 'maca')
            learn.dls.valid.n = 0                                   # the reference does not validate either
            t = in_turns({'reference': epoch, 'learn.fit': lambda: learn.fit(1, 1e-3)}, max(2, rounds//4), warmup=1)
            rates = {k: dict(images_per_s=len(dl)*bs/v) for k,v in t.items()}
            res[size] = dict(rates, ratio=t['reference']/t['learn.fit'])
    return res

def train_reference(dl, valid, seed, epochs, lr):
    "Accuracy after training as the public repositories do: one file, from top to bottom"
    model = make_model(get_readings('maca', **LEARNS), 'fp32', True, 'resnet18', seed, last_stride=1)
    afc = list(model.afc.parameters())
    with torch.no_grad():                                           # centres start at the class means
        f,y = map(torch.cat, zip(*((model(x.to(DEV))['features'], y.to(DEV)) for x,y in dl)))
        model.afc.centers.copy_(torch.stack([f[y==k].mean(0) for k in range(8)]))
    others = [p for p in model.parameters() if all(p is not q for q in afc)]
    opt = torch.optim.SGD([dict(params=others, weight_decay=1e-4), dict(params=afc, weight_decay=0.)], lr, momentum=.9)
    n,warm = epochs*len(dl),.1*epochs*len(dl)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: (1+np.cos(np.pi*i/n))/2*min(1., max(i/warm, .01)))
    for _ in range(epochs):
        for x,y in dl:
            loss = loss_of(model, x.to(DEV), y.to(DEV))
            opt.zero_grad(); loss.backward(); opt.step(); sched.step()
    model.eval()
    with torch.no_grad(): return float(torch.cat([model(x.to(DEV)).argmax(1).cpu()==y for x,y in valid]).float().mean())

# Readings that reach something within four epochs; the paper's stay near chance for so long
LEARNS = dict(fusion='mean', classifier='batch_norm')

def accuracy(rounds, seeds=3):
    """Validation accuracy after the same four epochs of either way: ResNet-18, heads, AFC and MI, 48 px, generated
    faces without augmentation"""
    res,faces = {'straightforward loop': [], 'learn.fit': []},read_synth(2400, 48, progress=False)
    size,epochs,lr,bs = 48,4,.02,32
    with tempfile.TemporaryDirectory() as d:
        dls = (loader(f'{d}/train', faces.only('train'), size, bs, augment=False),
               loader(f'{d}/valid', faces.only('valid'), size, 128, train=False, augment=False))
        for seed in range(seeds):
            set_seed(seed)
            res['straightforward loop'].append(train_reference(*dls, seed, epochs, lr))
            set_seed(seed)
            learn = maca_learner(face_dls(faces, size, bs, seed, 'none'), 'resnet18', 'maca', LEARNS, last_stride=1)
            learn.fit_cosine(epochs, lr)
            res['learn.fit'].append(float(learn.validate()[1]))
    return res

def inference(rounds):
    "ResNet-34 at 224 px: time for one face and for a batch of 32, with every runtime and precision"
    torch.set_grad_enabled(False)
    size,res = 224,{}
    info = dict(labels=list(EXPRESSIONS), source_size=None, data={}, code=code_version(), stats=STATS['imagenet'],
                config=dict(size=224, data='synth', method='maca', arch='resnet34', epochs=0, seed=0))
    g = torch.Generator().manual_seed(0)
    xs = {b: torch.rand(b, 3, size, size, generator=g) for b in (1, 32)}
    def model_of(method, precision):
        "In eval mode. Its batch norm has seen images: an untrained network would answer with ones and zeros"
        m = make_model(method, 'fp32')
        own = torch.Generator().manual_seed(0)               # the same images for each, so that they stay one network
        for _ in range(30): m(torch.randn(16, 3, 64, 64, generator=own).to(DEV))
        m.precision = precision
        return m.to(memory_format=torch.channels_last if precision=='bf16' else torch.contiguous_format).eval()
    def eager(method, precision, folded):
        m = model_of(method, precision)
        if folded: m = fuse_for_inference(m); m.precision = precision
        net = nn.Sequential(m, nn.Softmax(-1))
        cl = torch.channels_last if precision=='bf16' else torch.contiguous_format
        return lambda x: net(x.to(DEV, memory_format=cl)).float().cpu().numpy()
    cases = {'torch fp32': eager('maca', 'fp32', False), 'torch bf16, channels last': eager('maca', 'bf16', False),
        'folded fp32': eager('maca', 'fp32', True), 'folded bf16': eager('maca', 'bf16', True),
        'plain fp32': eager('baseline', 'fp32', False), 'plain bf16': eager('baseline', 'bf16', False),
        'plain folded bf16': eager('baseline', 'bf16', True)}
    try:
        m = fuse_for_inference(model_of('maca', 'bf16')).to(memory_format=torch.channels_last); m.precision = 'bf16'
        fast = torch.compile(nn.Sequential(m, nn.Softmax(-1)), dynamic=False)
        fast(xs[1].to(DEV))
        def compiled(x): return fast(x.to(DEV, memory_format=torch.channels_last)).float().cpu().numpy()
        cases['compiled, folded bf16'] = compiled
    except Exception as e: print(f'no compiled variant: {str(e).splitlines()[0]}', file=sys.stderr)
    net = FaceClassifier(model_of('maca', 'fp32'), ([0.]*3, [1.]*3)).cpu()
    with tempfile.TemporaryDirectory() as d:
        try:
            to_onnx(net, f'{d}/m.onnx', metadata(info)); to_openvino(net, f'{d}/m.xml', metadata(info))
            for k,f in {'ONNX Runtime': ExportedModel(f'{d}/m.onnx'), 'OpenVINO': ExportedModel(f'{d}/m.xml'),
                        'OpenVINO bf16': ExportedModel(f'{d}/m.xml', bf16=True)}.items():
                cases[k] = lambda x, f=f: f(x.numpy())
            import openvino
            to_int8(f'{d}/m.onnx', f'{d}/int8.onnx', [xs[32].numpy()])
            openvino.save_model(openvino.convert_model(f'{d}/int8.onnx'), f'{d}/int8.xml')
            for k,f in {'ONNX Runtime INT8': ExportedModel(f'{d}/int8.onnx'),
                        'OpenVINO INT8': ExportedModel(f'{d}/int8.xml')}.items():
                cases[k] = lambda x, f=f: f(x.numpy())
        except ImportError as e: print(e, file=sys.stderr)
        exact = cases['torch fp32'](xs[32])
        t1 = in_turns({k: lambda f=f: f(xs[1]) for k,f in cases.items()}, 3*rounds, warmup=3)
        t32 = in_turns({k: lambda f=f: f(xs[32]) for k,f in cases.items()}, rounds, warmup=1)
        for k,f in cases.items():
            res[k] = dict(one_ms=1e3*t1[k], images_per_s=32/t32[k], over_fp32=t32['torch fp32']/t32[k],
                          difference=None if k.startswith('plain') else float(np.abs(f(xs[32])-exact).max()))
    torch.set_grad_enabled(True)
    ratios = {'bf16': t32['torch bf16, channels last']/t32['plain bf16'],
              'folded bf16': t32['folded bf16']/t32['plain folded bf16']}
    return dict(variants=res, maca_over_plain=ratios)

def memory(rounds):
    "Peak memory of a step at 224 px, batch 64, each way in a process of its own"
    ways = {'fp32': 'fp32 64 0', 'bf16': 'bf16 64 0', 'bf16, 2 x 32 accumulated': 'bf16 32 0',
            'bf16, checkpointing': 'bf16 64 1'}
    def last_line(way):
        args = [sys.executable, __file__, '--memory', *way.split()]
        return subprocess.run(args, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    return {k: json.loads(last_line(v)) for k,v in ways.items()}

def memory_child(precision, bs, checkpointing):
    m,(x,y) = make_model('maca', precision),batch(224, int(bs), precision)
    m.backbone.checkpointing = bool(int(checkpointing))
    step = stepper(m, x, y)
    base = peak_memory(DEV)
    t = [clock(step) for _ in range(3)][-1]
    print(json.dumps(dict(peak_mb=peak_memory(DEV), of_which_before_mb=base, s_per_64=t*64/int(bs))))

SECTIONS = dict(limit=limit, train=train, fit=fit, small_maps=small_maps, reference=reference, accuracy=accuracy,
                inference=inference, memory=memory)

def machine():
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else []
    cpu = next((l.split(':')[1].strip() for l in lines if l.startswith('model name')), platform.processor())
    device = torch.cuda.get_device_name() if DEV.type=='cuda' else cpu
    return dict(device=device, cores=os.cpu_count(), torch=torch.__version__, code=code_version())

def load_results(file=HERE/'results.json'):
    "Section -> what it measured"
    return {k: v['result'] for k,v in json.loads(Path(file).read_text()).items()}

def goals(bench):
    "A table of the goals that were set before the measurements, and the measured values"
    t,f,i,r = bench['train'],bench['fit'],bench['inference'],bench['reference']
    def of_both(size, what): return [f[f'{size} px, {label}'][what] for label in METHOD_OF]
    ours = [v for k,v in i['variants'].items() if not k.startswith('plain')]
    rows = [('time of a MACA-Net step / of a plain one, 224 px', 'at most', 1.2, t['224']['maca']['over_plain']),
        ('time of a MACA-Net step / of a plain one, 64 px', 'at most', 1.35, t['64']['maca']['over_plain']),
        ('time of MACA-Net / of plain, inference, folded', 'at most', 1.12, i['maca_over_plain']['folded bf16']),
        ('images/s of `learn.fit` / of bare steps, 224 px', 'at least', .9, min(of_both(224, 'fit_over_bare_rate'))),
        ('images/s of `learn.fit` / of bare steps, 64 px', 'at least', .85, min(of_both(64, 'fit_over_bare_rate'))),
        ('share of the loader in an epoch, 224 px', 'at most', .05, max(of_both(224, 'loader_share'))),
        ('share of the loader in an epoch, 64 px', 'at most', .05, max(of_both(64, 'loader_share'))),
        ('speed of `learn.fit` / of the straightforward loop, 224 px', 'at least', 2.8, r['224']['ratio']),
        ('speed of `learn.fit` / of the straightforward loop, 64 px', 'at least', 1.3, r['64']['ratio']),
        ('speed on a batch of 32, fastest way / eager fp32', 'at least', 2.5, max(v['over_fp32'] for v in ours)),
        ('one face at 224 px, fastest way, ms', 'at most', 15., min(v['one_ms'] for v in ours))]
    def is_met(how, goal, value): return value<=goal if how=='at most' else value>=goal
    table = [dict(what=w, goal=f'{how} {g:.2f}', measured=f'{v:.2f}', met='yes' if is_met(how, g, v) else 'no')
             for w,how,g,v in rows]
    return pd.DataFrame(table).set_index('what')

def show(d, indent=0):
    for k,v in d.items():
        if isinstance(v, dict) and any(isinstance(o, dict) for o in v.values()):
            print(f'{" "*indent}{k}')
            show(v, indent+2)
        elif isinstance(v, list): print(f'{" "*indent}{k:34}' + '  '.join(f'{b:.4g}' for b in v))
        elif isinstance(v, dict):
            parts = [f'{a} {b:.4g}' if isinstance(b, float) else f'{a} {b}' for a,b in v.items()]
            print(f'{" "*indent}{k:34}' + '  '.join(parts))
        else: print(f'{" "*indent}{k:34}{v:.4g}' if isinstance(v, float) else f'{" "*indent}{k:34}{v}')

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', nargs='+', choices=SECTIONS, metavar='SECTION',
                   help=f'of {", ".join(SECTIONS)} (default: all)')
    p.add_argument('--rounds', type=int, default=9, help='how often each case is run (default: 9)')
    p.add_argument('--out', type=Path, default=HERE/'results.json', help='default: results.json beside this file')
    p.add_argument('--memory', nargs=3, help=argparse.SUPPRESS)
    args = p.parse_args()
    warnings.filterwarnings('ignore')
    if args.memory: memory_child(*args.memory); sys.exit()
    res = json.loads(args.out.read_text()) if args.out.exists() else {}
    for k in args.only or SECTIONS:
        print(f'\n{k}: {SECTIONS[k].__doc__}', flush=True)
        res[k] = dict(result=SECTIONS[k](args.rounds), machine=machine())
        show(res[k]['result'])
        write_json(args.out, res)
    if set(SECTIONS)<=set(res): print(f'\n{goals(load_results(args.out)).to_string()}')
