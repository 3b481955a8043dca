# Two processes, as models write n_jobs.
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

x, y = load_iris(return_X_y=True)
print(cross_val_score(LogisticRegression(max_iter=500), x, y, cv=3, n_jobs=2).round(3).tolist())
print(RandomForestClassifier(20, random_state=0, n_jobs=2).fit(x, y).score(x, y))
