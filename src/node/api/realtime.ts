// The realtime endpoints: one stream per client, and what it listens to. PocketBase: apis/realtime.go.

import { parseSeat, seatHeaderName } from '../../ipc/messages/trunk.ts'
import type { MaybePromise } from '../../lib/result.ts'
import { memberOf } from '../engine/json/member.ts'
import type { RealtimeClient, Seat } from '../engine/realtime/client.ts'
import { checkItems, lengthBetween, required, tooLong } from '../engine/settings/checks.ts'
import { check, isForm, readBody, readTexts } from './auth-forms.ts'
import { ApiError, badRequest, forbidden, notFound } from './error-map.ts'
import { hooked } from './hooked.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

const topicsMax = 1_000
/** Bytes of one topic with its options. */
const topicLengthMax = 2_500
const clientIdLengthMax = 255
/** How long a connection may stay whose client was sent away and does not read what is left, seconds. */
const lingerSeconds = 4
/** PocketBase's default message. */
const unreadable = ''

function connect(event: RequestEvent): MaybePromise<Response> {
  const { engine, lease, request } = event
  event.keepsLease = true
  const seatName = request.headers.get(seatHeaderName)
  let isSeated = false
  const onClose = () => {
    // Else a client that never reads would keep its connection, and what waits for it in memory, for ever.
    if (!isSeated) event.connections?.timeout(request, lingerSeconds)
    lease.release()
  }
  const client = engine.realtime.connect(event.realIp, onClose, seatOf(event, seatName))
  if (client === null) {
    event.keepsLease = false
    throw new ApiError(503, 'Too many realtime connections.', {}, 5)
  }
  isSeated = client.seat !== null
  // Streams have time-outs of their own.
  if (!isSeated) event.connections?.timeout(request, 0)
  request.signal.addEventListener('abort', () => client.close(), { once: true })
  if (request.signal.aborted) client.close()
  const headers = {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    ...(isSeated && { [seatHeaderName]: seatName! }),
  }
  const { onRealtimeConnectRequest } = engine.chains
  if (onRealtimeConnectRequest.isEmpty) return new Response(client.stream, { headers })
  return connectHooked(event, client, headers)
}

/** Where the gateway would have the stream go; null: into the answer, as for everybody else. */
function seatOf({ engine }: RequestEvent, name: string | null): Seat | null {
  const parsed = name === null ? null : parseSeat(name)
  const trunk = parsed === null ? null : engine.realtime.trunkById(parsed.trunkId)
  return trunk === null ? null : { trunk, number: parsed!.number }
}

async function connectHooked(
  event: RequestEvent,
  client: RealtimeClient,
  headers: Readonly<Record<string, string>>,
): Promise<Response> {
  const { onRealtimeConnectRequest } = event.engine.chains
  let isConnected = false
  try {
    return await hooked(onRealtimeConnectRequest, { requestEvent: event, client }, () => {
      isConnected = true
      return new Response(client.stream, { headers })
    })
  } finally {
    if (!isConnected) client.close() // a handler answered instead, or refused
  }
}

async function subscribe(event: RequestEvent): Promise<Response> {
  const { engine } = event
  const body = await readBody(event, '')
  if (typeof (memberOf(body, 'clientId') ?? '') !== 'string') throw badRequest()
  const { clientId } = readTexts(body, 'clientId')
  const topics = readTopics(body['subscriptions'], isForm(event.request))
  checkForm(clientId, topics)
  const client = engine.realtime.clientById(clientId)
  if (client === null) throw notFound('Missing or invalid client id.')
  if (client.realIp !== '' && client.realIp !== event.realIp) throw badRequest('Invalid realtime client.')
  if (client.auth !== null) {
    client.checkAuth(engine.collections.find(client.auth.collection.id))
    const isSame = client.auth?.id === event.auth?.id && client.auth?.collection.id === event.auth?.collection.id
    // Guests may sign in; anything else is another client.
    if (client.auth !== null && !isSame)
      throw forbidden("The current and the previous request authorization don't match.")
  }
  const facts = { requestEvent: event, client, subscriptions: topics }
  return hooked(engine.chains.onRealtimeSubscribeRequest, facts, (e) => {
    client.auth = event.auth
    client.unsubscribe()
    for (const topic of e.subscriptions) client.subscribe(topic)
    return event.noContent()
  })
}

/** A form has one topic as a text, JSON only lists. */
function readTopics(value: unknown, isInForm: boolean): string[] {
  if (value === undefined || value === null) return []
  const list = isInForm && typeof value === 'string' ? [value] : value
  if (!Array.isArray(list) || list.some((each) => typeof each !== 'string')) throw badRequest()
  return list as string[]
}

function checkForm(clientId: string, topics: readonly string[]): void {
  check(
    {
      clientId: [clientId, required, lengthBetween(1, clientIdLengthMax)],
      subscriptions:
        topics.length > topicsMax ? tooLong(topicsMax) : checkItems(topics, [lengthBetween(0, topicLengthMax)]),
    },
    unreadable,
  )
}

export const realtimeRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/realtime', limit: 'path', handle: connect },
  { method: 'POST', path: '/api/realtime', limit: 'path', handle: subscribe },
]
