from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference

book = Workbook()
sheet = book.active
for row in (("name", "value"), ("a", 1), ("b", 2)):
    sheet.append(row)
chart = BarChart()
chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=3), titles_from_data=True)
sheet.add_chart(chart, "E2")
book.save("b.xlsx")
print([cell.value for cell in load_workbook("b.xlsx").active["B"]])
