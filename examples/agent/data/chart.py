import matplotlib.pyplot as plt
import pandas as pd

frame = pd.read_csv("sales.csv")
totals = frame.groupby("region")["amount"].sum().sort_values(ascending=False)
for region, total in totals.items():
    print(f"total: {region} with {total:.2f}")
totals.plot.bar(title="Sales by region")
plt.tight_layout()
plt.show()
