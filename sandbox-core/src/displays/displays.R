# Read by R at its start, before the program: what is drawn without a device is kept.
local({
  # Other R processes that the program starts are not asked to read this file.
  Sys.unsetenv("R_TESTS")
  folder <- gsub("%", "%%", file.path(getwd(), ".displays"), fixed = TRUE)
  count <- 0L
  options(device = function(width = 8, height = 6, ...) {
    count <<- count + 1L
    file <- file.path(folder, sprintf("plot-%03d-%%03d.png", count))
    grDevices::png(file, width = width, height = height, units = "in", res = 100)
  })
})
