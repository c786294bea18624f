import { expect, test } from 'bun:test'
import { reachOwnHostsDirectly } from './direct-hosts.ts'

const direct = (environment: Record<string, string>) => {
  reachOwnHostsDirectly(environment)
  return environment
}

test('this machine joins the hosts that no proxy is asked for', () => {
  const all = 'localhost,127.0.0.1,::1'
  expect(direct({})).toEqual({ NO_PROXY: all, no_proxy: all })
  const more = '10.0.0.0/8,.intern,localhost,127.0.0.1,::1'
  expect(direct({ NO_PROXY: '10.0.0.0/8, .intern' })).toEqual({ NO_PROXY: more, no_proxy: more })
  expect(direct({ no_proxy: '::1,localhost' })['NO_PROXY']).toBe('::1,localhost,127.0.0.1')
  expect(direct({ NO_PROXY: '*' })).toEqual({ NO_PROXY: '*' })
})

test('a program behind a proxy that is not there reaches its own servers', async () => {
  const source = `
    import { reachOwnHostsDirectly } from ${JSON.stringify(`${import.meta.dir}/direct-hosts.ts`)}
    reachOwnHostsDirectly(process.env)
    const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('own') })
    for (const host of ['127.0.0.1', 'localhost', 'shop.localhost'])
      console.log(await (await fetch('http://' + host + ':' + server.port)).text())
    await server.stop(true)`
  await using child = Bun.spawn([process.execPath, '-e', source], {
    stdout: 'pipe',
    stderr: 'inherit',
    env: { PATH: process.env['PATH'], HTTP_PROXY: 'http://127.0.0.1:9', http_proxy: 'http://127.0.0.1:9' },
  })
  expect(await new Response(child.stdout).text()).toBe('own\nown\nown\n')
})
