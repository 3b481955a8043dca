import pandas as pd

frame = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=6, tz="Europe/Berlin"), "kind": list("ababab"), "value": range(6)})
frame.to_csv("f.csv", index=False)
again = pd.read_csv("f.csv", parse_dates=["day"])
print(again.groupby("kind").value.agg(["sum", "mean"]).to_dict())
print(frame.set_index("day").value.resample("2D").sum().tolist())
print(frame.pivot_table(index="kind", values="value", aggfunc="max").to_json(), frame.day.dt.tz_convert("UTC").iloc[0])
frame.assign(day=frame.day.dt.tz_localize(None)).to_excel("f.xlsx", index=False)
print(pd.read_excel("f.xlsx").value.sum())
