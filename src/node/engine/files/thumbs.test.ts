// Goal: thumbs have the size their name says and show the part of the picture their mode says.
// Method: a picture of four coloured bands is drawn as a PNG, and pixels of the thumbs are looked at.

import { expect, test } from 'bun:test'
import { inflateSync } from 'node:zlib'
import { drawPng } from '../../../../test/support/png.ts'
import { seededRng } from '../../../lib/rng.ts'
import { encodeGif } from './gif.ts'
import { cropPng, decodePng, toRgba } from './png.ts'
import { exifOrientation, makeThumb, parseThumbSize, ThumbError } from './thumbs.ts'

const bands = [
  [255, 0, 0],
  [0, 255, 0],
  [0, 0, 255],
  [255, 255, 0],
]

/** 40 pixels wide, 160 high: four bands of 40. */
function picture(): Uint8Array {
  return drawPng({ width: 40, height: 160 }, 'rgb', (_, y) => bands[Math.floor(y / 40)]!)
}

/** The colour in the middle, through a crop to one pixel. */
function middle(png: Uint8Array, width: number, height: number): number[] {
  const one = Buffer.from(cropPng(png, { x: Math.floor(width / 2), y: Math.floor(height / 2), width: 1, height: 1 }))
  const at = one.indexOf('IDAT') + 4
  return [...inflateSync(one.subarray(at, at + one.readUInt32BE(at - 8))).subarray(1, 4)]
}

test.each([
  ['20x20', 20, 20, null],
  ['20x20t', 20, 20, [255, 0, 0]],
  ['20x20b', 20, 20, [255, 255, 0]],
  ['20x40f', 10, 40, null],
  ['20x0', 20, 80, null],
  ['0x40', 10, 40, null],
] as const)('%s', async (text, width, height, colour) => {
  const thumb = await makeThumb(picture(), 'image/png', parseThumbSize(text)!)
  expect(thumb.contentType).toBe('image/png')
  expect(await new Bun.Image(thumb.bytes).metadata()).toMatchObject({ width, height, format: 'png' })
  if (colour !== null) expect(middle(thumb.bytes, width, height)).toEqual([...colour])
})

test('a JPEG stays one', async () => {
  const jpeg = await new Bun.Image(picture()).jpeg().bytes()
  const thumb = await makeThumb(jpeg, 'image/jpeg', parseThumbSize('30x30')!)
  expect(thumb.contentType).toBe('image/jpeg')
  expect(await new Bun.Image(thumb.bytes).metadata()).toMatchObject({ width: 30, height: 30, format: 'jpeg' })
})

test.each([
  ['few colours', 4],
  ['many colours', 4_000],
] as const)('a GIF stays one: %s', async (_, colours) => {
  const [width, height] = [80, 60]
  const rgba = new Uint8Array(width * height * 4)
  for (let i = 0; i < width * height; i++) {
    const colour = (i * 7919) % colours
    rgba.set([(colour * 37) & 0xff, (colour * 11) & 0xff, (colour >> 4) & 0xff, i % 50 === 0 ? 0 : 255], i * 4)
  }
  const gif = encodeGif({ width, height, rgba })
  const read = decodePng(await new Bun.Image(gif).png().bytes())
  expect([read.width, read.height]).toEqual([width, height])
  const pixels = toRgba(read)
  for (let i = 0; i < width * height; i++) expect([i, pixels[i * 4 + 3]]).toEqual([i, rgba[i * 4 + 3]!])
  // Few colours come back exactly; of many, the mean does.
  let difference = 0
  for (let i = 0; i < rgba.length; i++) if (rgba[i - (i % 4) + 3] === 255) difference += pixels[i]! - rgba[i]!
  expect(Math.abs(difference / rgba.length)).toBeLessThan(colours === 4 ? 1e-9 : 1.5)
  if (colours === 4)
    for (let i = 0; i < rgba.length; i++)
      if (rgba[i - (i % 4) + 3] === 255) expect([i, pixels[i]]).toEqual([i, rgba[i]!])
  const thumb = await makeThumb(gif, 'image/gif', parseThumbSize('20x20')!)
  expect(thumb.contentType).toBe('image/gif')
  expect(await new Bun.Image(thumb.bytes).metadata()).toMatchObject({ width: 20, height: 20, format: 'gif' })
})

test('a GIF of many pixels: the table of codes starts anew', async () => {
  const [width, height] = [400, 300]
  const rng = seededRng(7)
  const rgba = new Uint8Array(width * height * 4).fill(255)
  for (let i = 0; i < width * height; i++) rgba[i * 4] = rng.below(200)
  const pixels = toRgba(decodePng(await new Bun.Image(encodeGif({ width, height, rgba })).png().bytes()))
  expect(pixels.equals(Buffer.from(rgba))).toBe(true)
})

test('what is no size, and what is no picture', async () => {
  for (const text of ['0x0', '0x0t', '10', '10x10x', 'x10', '-1x5', '999999x1']) expect(parseThumbSize(text)).toBeNull()
  const broken = picture().slice(0, 60)
  await expect(makeThumb(broken, 'image/png', parseThumbSize('10x10')!)).rejects.toBeInstanceOf(ThumbError)
  await expect(makeThumb(new Uint8Array(0), 'image/png', parseThumbSize('10x10')!)).rejects.toBeInstanceOf(ThumbError)
})

test('no thumb holds the thread for long', async () => {
  for (const [type, text] of [
    ['image/png', '3000x3000'],
    ['image/gif', '2000x0'],
  ] as const)
    await expect(makeThumb(picture(), type, parseThumbSize(text)!)).rejects.toThrow('too many')
})

test('the orientation of a phone picture', () => {
  const exif = Buffer.from('ffd8ffe100224578696600004d4d002a00000008000101120003000000010006000000000000ffd9', 'hex')
  expect(exifOrientation(exif)).toBe(6)
  expect(exifOrientation(exif.subarray(0, 20))).toBe(1)
  expect(exifOrientation(picture())).toBe(1)
})
