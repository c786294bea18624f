// The picture that an OAuth2 provider has of a user. Its address was chosen by the user as much as by the provider, so it
// is only fetched from public addresses, whatever else may be reached.

import { OutboundError, sendOutbound } from '../engine/auth/oauth2/outbound.ts'
import { sniffContentType } from '../engine/files/content-type.ts'
import { storedName, UploadedFile } from '../engine/files/uploaded-file.ts'
import type { RequestEvent } from './request-event.ts'

const downloadMs = 10_000
/** Larger than any profile picture. */
const avatarBytesMax = 10 << 20
const nameLengthMax = 100

/** The picture as an upload, or null when it cannot be had: the sign-in goes on without it. */
export async function downloadAvatar({ engine, request }: RequestEvent, url: string): Promise<UploadedFile | null> {
  const abort = new AbortController()
  const cancelDeadline = engine.clock.setTimer(downloadMs, () => abort.abort(new Error('the picture took too long')))
  try {
    const signal = AbortSignal.any([abort.signal, request.signal])
    const answer = await sendOutbound({ url, bodyBytesMax: avatarBytesMax, signal, mayReachPrivate: false })
    if (answer.status < 200 || answer.status > 399)
      throw new OutboundError(`the picture's server answered ${answer.status}`)
    const originalName = decodeURIComponent(new URL(url).pathname.split('/').pop() || 'avatar').slice(-nameLengthMax)
    return new UploadedFile({
      originalName,
      name: storedName(originalName, engine.rng),
      sizeBytes: answer.body.length,
      contentType: sniffContentType(answer.body, originalName),
      content: { bytes: answer.body },
    })
  } catch (error) {
    engine.log.warn('OAuth2 avatar not fetched', { error })
    return null
  } finally {
    cancelDeadline()
  }
}
