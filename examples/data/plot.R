# A figure as models write them, large enough to come back through the bucket.
library(ggplot2)
library(dplyr)
set.seed(7)
frame <- tibble(x = rnorm(4000), y = rnorm(4000)) |> mutate(side = if_else(x > 0, "größer", "温度"))
plot <- ggplot(frame, aes(x, y, colour = side)) + geom_point() + facet_wrap(~side)
ggsave("plot.png", plot, width = 9, height = 6, dpi = 200)
cat("drawn by", class(plot)[[1]] != "", "\n")
