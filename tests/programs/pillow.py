from PIL import Image, ImageDraw, ImageFilter, ImageFont

image = Image.new("RGB", (120, 80), "white")
ImageDraw.Draw(image).text((5, 5), "hello", fill="black", font=ImageFont.load_default(20))
image.filter(ImageFilter.GaussianBlur(1)).rotate(10, expand=True).save("a.png")
image.save("a.jpg", quality=80)
image.save("a.webp")
print([Image.open(f"a.{kind}").format for kind in ("png", "jpg", "webp")])
