from scipy import integrate, optimize, sparse, stats
from scipy.sparse import linalg

print(round(integrate.quad(lambda x: x * x, 0, 3)[0], 9))
print(optimize.minimize(lambda v: (v[0] - 1) ** 2 + (v[1] + 2) ** 2, [0, 0]).x.round(4).tolist())
matrix = sparse.diags([1.0, 2.0, 3.0], format="csc")
print(linalg.spsolve(matrix, [1, 2, 3]).tolist(), round(stats.norm.cdf(1.96), 4))
