# Read by R at its start, before the program: what is drawn without a device is kept.
local({
  # Other R processes that the program starts are not asked to read this file.
  Sys.unsetenv("R_TESTS")
  folder <- file.path(getwd(), ".displays")
  count <- 0L
  options(device = function(width = 8, height = 6, ...) {
    count <<- count + 1L
    dir.create(folder, showWarnings = FALSE)
    name <- sprintf("plot-%07d-%03d-%%03d.png", Sys.getpid(), count)
    file <- file.path(gsub("%", "%%", folder, fixed = TRUE), name)
    # Nobody means a plot of 50 inches: those are pixels.
    inches <- function(size) if (size > 50) size / 100 else size
    grDevices::png(file, inches(width), inches(height), units = "in", res = 100)
  })
})
