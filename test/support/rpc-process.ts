// A server or a client of requests in a process of its own; argv: server ADDRESS | client ADDRESS. The client counts
// up for ever and prints each answer.

import { openRpcClient } from '../../src/ipc/client.ts'
import type { Conversation } from '../../src/ipc/conversation.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { openRpcServer } from '../../src/ipc/server.ts'
import { openMessaging } from '../../src/ipc/zmq/context.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'

export type Count = { readonly type: 'count'; readonly n: number }
export interface CountReplies {
  count: { readonly n: number; readonly pid: number }
}
export const countConversation: Conversation<Count, CountReplies> = { name: 'count', version: 1, callers: ['node'] }
export const countSecrets = clusterSecrets('a secret for processes that count')

if (import.meta.main) {
  const [, , kind, address] = process.argv as [string, string, 'server' | 'client', string]
  if (kind === 'server') {
    const messaging = openMessaging({ role: 'control-plane', secrets: countSecrets, log })
    const server = openRpcServer({ messaging, bind: address, allow: ['node'], clock, log })
    server.serve(countConversation, { count: ({ n }) => ({ n: n + 1, pid: process.pid }) })
    console.log(server.address)
  } else {
    const messaging = openMessaging({ role: 'node', secrets: countSecrets, log })
    const client = openRpcClient({
      messaging,
      connect: address,
      serverRole: 'control-plane',
      conversation: countConversation,
      clock,
      log,
    })
    for (let n = 0; ; ) {
      n = (await client.request({ type: 'count', n }, { deadlineMs: 10_000 })).n
      console.log(n)
    }
  }
}
