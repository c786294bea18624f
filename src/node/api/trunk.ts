// Trunks: a gateway that has many realtime clients of a tenant gets what they all get once. For gateways alone, which drop
// the header that these requests have from what clients send.

import {
  decodeSeats,
  frameSeatsMax,
  seatBytes,
  trunkHeaderName,
  trunkIdLength,
  trunkMediaType,
  trunkPath,
} from '../../ipc/messages/trunk.ts'
import { ApiError, badRequest, notFound } from './error-map.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

/** Of one message that tells who has gone, bytes. */
const leaveBytesMax = seatBytes * frameSeatsMax

/** The trunk that the request speaks of; 404 as for any path that is not there. */
function trunkIdOf(event: RequestEvent): string {
  const id = event.request.headers.get(trunkHeaderName) ?? ''
  if (id.length !== trunkIdLength || !/^\w+$/.test(id)) throw notFound()
  event.isQuiet = true // no request of anybody's
  return id
}

function open(event: RequestEvent): Response {
  const { engine, request, connections } = event
  const trunk = engine.realtime.openTrunk(trunkIdOf(event))
  if (trunk === null) throw new ApiError(503, 'Too many trunks.', {}, 5)
  connections?.timeout(request, 0)
  request.signal.addEventListener('abort', () => trunk.close(), { once: true })
  if (request.signal.aborted) trunk.close()
  return new Response(trunk.stream, { headers: { 'content-type': trunkMediaType, 'cache-control': 'no-store' } })
}

async function leave(event: RequestEvent): Promise<Response> {
  const trunk = event.engine.realtime.trunkById(trunkIdOf(event))
  const lengthBytes = Number(event.request.headers.get('content-length') ?? Number.NaN)
  if (!(lengthBytes <= leaveBytesMax)) throw badRequest()
  const numbers = decodeSeats(await event.request.bytes())
  if (numbers === null) throw badRequest()
  trunk?.leave(numbers)
  return event.noContent()
}

export const trunkRoutes: readonly Route[] = [
  { method: 'GET', path: trunkPath, limit: 'own', handle: open },
  { method: 'POST', path: trunkPath, limit: 'own', handle: leave },
]
