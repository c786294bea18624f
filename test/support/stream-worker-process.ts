// A worker in a process of its own: `/stream` opens an event stream with one event, anything else is answered at once.
// Its address is one line on standard output; ends when standard input does.

const encoder = new TextEncoder()
let open = 0
const server = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  development: false,
  idleTimeout: 0,
  fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname !== '/stream') return new Response(String(open))
    open++
    request.signal.addEventListener('abort', () => open--)
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(encoder.encode('data: open\n\n')),
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  },
})
console.log(`http://127.0.0.1:${server.port}`)
for await (const _ of Bun.stdin.stream()) {
  // nothing is said on it; its end is the signal
}
process.exit()
