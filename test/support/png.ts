// Pictures for tests, as PNG (RFC 2083): no filter, no palette, 8 bits a sample.

import { deflateSync } from 'node:zlib'

function chunk(type: string, body: Uint8Array): Buffer {
  const typed = Buffer.concat([Buffer.from(type), body])
  const framed = Buffer.alloc(typed.length + 8)
  framed.writeUInt32BE(body.length, 0)
  typed.copy(framed, 4)
  framed.writeUInt32BE(Bun.hash.crc32(typed), typed.length + 4)
  return framed
}

const samplesOf = { grey: 1, rgb: 3 } as const
const colourTypeOf = { grey: 0, rgb: 2 } as const

/** @param pixel the samples of one pixel, 0 to 255. */
export function drawPng(
  size: { readonly width: number; readonly height: number },
  colours: 'grey' | 'rgb',
  pixel: (x: number, y: number) => readonly number[],
): Buffer {
  const { width, height } = size
  const samples = samplesOf[colours]
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, colourTypeOf[colours], 0, 0, 0], 8)
  const rowBytes = 1 + width * samples // the filter stands before each row
  const rows = Buffer.alloc(rowBytes * height)
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) rows.set(pixel(x, y), y * rowBytes + 1 + x * samples)
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}
