# Two figures as models draw them: one is shown, one is saved.
import matplotlib.pyplot as plt
import numpy as np

x = np.linspace(0, 4 * np.pi, 400)
plt.plot(x, np.sin(x), label="sin")
plt.plot(x, np.cos(x), label="cos")
plt.title("Shown, not saved")
plt.legend()
plt.show()

rng = np.random.default_rng(7)
plt.hist(rng.normal(size=5000), bins=50, color="seagreen")
plt.title("Saved as a file")
plt.savefig("histogram.png")
print("mean of the sine:", round(float(np.sin(x).mean()), 3))
