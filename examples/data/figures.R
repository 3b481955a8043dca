# Two figures as models draw them: one on the default device, one saved as SVG.
set.seed(7)
values <- rnorm(500)
boxplot(values ~ rep(c("a", "b", "c", "d"), length.out = 500), main = "Drawn, not saved",
        xlab = "group", ylab = "value", col = "lightblue")
svg("scatter.svg", width = 6, height = 4)
plot(values[-1], values[-500], main = "Saved as SVG", xlab = "now", ylab = "before")
invisible(dev.off())
cat("mean:", round(mean(values), 3), "\n")
