import numpy as np

rng = np.random.default_rng(7)
a = rng.normal(size=(200, 200))
u, s, vt = np.linalg.svd(a)
print(np.allclose(u * s @ vt, a), round(float(np.linalg.det(a[:5, :5])), 6))
print(np.fft.rfft(np.arange(8)).round(3).tolist())
np.save("a.npy", a)
print(np.load("a.npy", mmap_mode="r").shape, np.random.rand(3).shape)
