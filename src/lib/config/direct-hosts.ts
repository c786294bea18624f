// Proxies of the environment are for the world outside: `fetch` would ask them for this very machine too.

/** Which of this machine's names and addresses no proxy is asked for; names below `localhost` go with it. */
const ownHosts = ['localhost', '127.0.0.1', '::1']

/** Has `fetch` reach this machine directly, here and in every child, whatever HTTP_PROXY says; hosts that NO_PROXY names stay. */
export function reachOwnHostsDirectly(environment: Record<string, string | undefined>): void {
  const named = environment['NO_PROXY'] ?? environment['no_proxy'] ?? ''
  const hosts = named
    .split(',')
    .map((host) => host.trim())
    .filter((host) => host !== '')
  const missing = ownHosts.filter((host) => !hosts.includes(host))
  if (hosts.includes('*') || missing.length === 0) return
  for (const variable of ['NO_PROXY', 'no_proxy']) environment[variable] = [...hosts, ...missing].join(',')
}
