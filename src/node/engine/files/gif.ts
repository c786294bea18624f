// One picture as a GIF (89a), for thumbs of GIFs. Up to 255 colours are kept as they are; more are brought down to a cube
// of 252, and what each pixel loses is spread over its neighbours (Floyd and Steinberg).

/** One place of the palette is for transparent pixels. */
const coloursMax = 255
/** Levels of red, green and blue in the cube; the eye tells greens best. */
const levels = [6, 7, 6] as const
/** Pixels below this alpha are transparent: a GIF knows all or nothing. */
const alphaMin = 128
/** LZW codes have at most 12 bits. */
const codesMax = 4096

export interface RgbaImage {
  readonly width: number
  readonly height: number
  /** Four bytes a pixel. */
  readonly rgba: Uint8Array
}

/** @param image at most 65,535 pixels wide and high. */
export function encodeGif(image: RgbaImage): Uint8Array {
  const { width, height } = image
  const { palette, indexes, transparent } = quantize(image)
  const bytes: number[] = []
  const word = (value: number) => bytes.push(value & 0xff, value >> 8)
  for (const char of 'GIF89a') bytes.push(char.charCodeAt(0))
  word(width)
  word(height)
  bytes.push(0xf7, 0, 0) // a global table of 256 colours
  for (let i = 0; i < 256 * 3; i++) bytes.push(palette[i] ?? 0)
  bytes.push(0x21, 0xf9, 4, transparent === null ? 0 : 1, 0, 0, transparent ?? 0, 0)
  bytes.push(0x2c, 0, 0, 0, 0)
  word(width)
  word(height)
  bytes.push(0, 8)
  const data = compress(indexes)
  const framed = Buffer.alloc(data.length + Math.ceil(data.length / 255) + 2)
  let at = 0
  for (let from = 0; from < data.length; from += 255) {
    const part = data.subarray(from, from + 255)
    framed[at++] = part.length
    framed.set(part, at)
    at += part.length
  }
  framed[at++] = 0
  framed[at++] = 0x3b
  return Buffer.concat([Buffer.from(bytes), framed.subarray(0, at)])
}

interface Quantized {
  readonly palette: readonly number[]
  readonly indexes: Uint8Array
  readonly transparent: number | null
}

function quantize(image: RgbaImage): Quantized {
  return exactColours(image) ?? cubeColours(image)
}

/** Null when there are too many colours. */
function exactColours({ rgba }: RgbaImage): Quantized | null {
  const known = new Map<number, number>()
  const palette: number[] = []
  const indexes = new Uint8Array(rgba.length / 4)
  let hasTransparent = false
  for (let i = 0; i < indexes.length; i++) {
    const at = i * 4
    if (rgba[at + 3]! < alphaMin) {
      indexes[i] = coloursMax
      hasTransparent = true
      continue
    }
    const colour = (rgba[at]! << 16) | (rgba[at + 1]! << 8) | rgba[at + 2]!
    let index = known.get(colour)
    if (index === undefined) {
      if (known.size >= coloursMax) return null
      index = known.size
      known.set(colour, index)
      palette.push(rgba[at]!, rgba[at + 1]!, rgba[at + 2]!)
    }
    indexes[i] = index
  }
  return { palette, indexes, transparent: hasTransparent ? coloursMax : null }
}

function cubeColours({ width, height, rgba }: RgbaImage): Quantized {
  const palette: number[] = []
  const value = (level: number, count: number) => Math.round((level * 255) / (count - 1))
  for (let red = 0; red < levels[0]; red++)
    for (let green = 0; green < levels[1]; green++)
      for (let blue = 0; blue < levels[2]; blue++)
        palette.push(value(red, levels[0]), value(green, levels[1]), value(blue, levels[2]))
  const indexes = new Uint8Array(width * height)
  // What is owed to the pixels of this row and of the next, with one to spare at each end.
  let owed = new Float32Array((width + 2) * 3)
  let next = new Float32Array((width + 2) * 3)
  let hasTransparent = false
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 4
      if (rgba[from + 3]! < alphaMin) {
        indexes[y * width + x] = coloursMax
        hasTransparent = true
        continue
      }
      let index = 0
      for (let channel = 0; channel < 3; channel++) {
        const count = levels[channel]!
        const wanted = rgba[from + channel]! + owed[(x + 1) * 3 + channel]!
        const level = Math.min(count - 1, Math.max(0, Math.round((wanted * (count - 1)) / 255)))
        index = index * count + level
        const lost = Math.min(255, Math.max(0, wanted)) - value(level, count)
        owed[(x + 2) * 3 + channel]! += (lost * 7) / 16
        next[x * 3 + channel]! += (lost * 3) / 16
        next[(x + 1) * 3 + channel]! += (lost * 5) / 16
        next[(x + 2) * 3 + channel]! += lost / 16
      }
      indexes[y * width + x] = index
    }
    ;[owed, next] = [next, owed]
    next.fill(0)
  }
  return { palette, indexes, transparent: hasTransparent ? coloursMax : null }
}

/** LZW as GIF has it: codes grow from 9 to 12 bits, then the table starts anew. */
function compress(indexes: Uint8Array): Uint8Array {
  const clear = 256
  const end = 257
  const out: number[] = []
  let bits = 0
  let bitCount = 0
  let size = 9
  const emit = (code: number) => {
    bits |= code << bitCount
    bitCount += size
    while (bitCount >= 8) {
      out.push(bits & 0xff)
      bits >>>= 8
      bitCount -= 8
    }
  }
  let table = new Map<number, number>()
  let nextCode = end + 1
  emit(clear)
  let prefix = -1
  for (const index of indexes) {
    if (prefix < 0) {
      prefix = index
      continue
    }
    const key = prefix * 256 + index
    const known = table.get(key)
    if (known !== undefined) {
      prefix = known
      continue
    }
    emit(prefix)
    if (nextCode < codesMax) {
      table.set(key, nextCode++)
      if (nextCode > 1 << size && size < 12) size++
    } else {
      emit(clear)
      table = new Map()
      nextCode = end + 1
      size = 9
    }
    prefix = index
  }
  if (prefix >= 0) emit(prefix)
  emit(end)
  if (bitCount > 0) out.push(bits & 0xff)
  return Uint8Array.from(out)
}
