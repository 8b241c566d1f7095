import numpy as np, pandas as pd
CLASSES = ('neutral','happiness','surprise','sadness','anger','disgust','fear','contempt')
def synth_faces(n, size=64, seed=0, classes=CLASSES, label_noise=0., occlusion=.15, max_yaw=25, min_intensity=.4, progress=False):
    r=np.random.default_rng(seed); lab=[classes[i%len(classes)] for i in range(n)]
    return r.integers(0,255,(n,size,size,3),dtype=np.uint8), pd.DataFrame(dict(name=[f'synth_{i:06}.png' for i in range(n)],label=lab,true_label=lab))
