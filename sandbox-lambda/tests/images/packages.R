library(readr)
library(tidyr)
library(data.table)
library(jsonlite)
write_csv(data.frame(id = 1:2, a = 3:4, b = 5:6), "wide.csv")
long <- pivot_longer(read_csv("wide.csv", show_col_types = FALSE), c(a, b))
totals <- as.data.table(long)[, .(total = sum(value)), by = name]
cat(toJSON(totals), "\n")
