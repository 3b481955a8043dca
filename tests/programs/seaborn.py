import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

frame = pd.DataFrame({"x": range(30), "y": [n % 7 for n in range(30)], "g": list("abc") * 10})
sns.set_theme()
sns.scatterplot(frame, x="x", y="y", hue="g")
plt.savefig("scatter.png")
sns.heatmap(frame[["x", "y"]].corr())
plt.savefig("heat.png")
print(open("scatter.png", "rb").read(4), open("heat.png", "rb").read(4))
