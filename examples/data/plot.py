# A figure as models write them, large enough to come back through the bucket.
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

rng = np.random.default_rng(7)
frame = pd.DataFrame({"Größe": rng.normal(size=4000), "温度": rng.normal(size=4000)})
sns.jointplot(data=frame, x="Größe", y="温度", kind="scatter")
plt.savefig("plot.png", dpi=200)
print("drawn by", matplotlib.get_backend().lower())
