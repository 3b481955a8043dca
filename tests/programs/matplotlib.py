import matplotlib
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2)
axes[0].plot([1, 2, 3], label="$x^2$")
axes[0].legend()
axes[1].hist([1, 1, 2, 5], bins=4)
for kind in ("png", "svg", "pdf"):
    figure.savefig("plot." + kind)
plt.show()
print(matplotlib.get_backend().lower(), open("plot.png", "rb").read(4), open("plot.pdf", "rb").read(4))
