// `admin create|list|revoke`: who may run the fleet.

import type { Command } from 'commander'
import { addClientFlags, clientOf } from './client.ts'
import { print, renderTable } from './output.ts'

interface Admin {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly created: string
}

interface AdminPage {
  readonly items: readonly Admin[]
}

export function registerAdmin(program: Command): void {
  const admin = program.command('admin').description('cluster admins: who may run the fleet')

  const create = admin.command('create').description('make an admin and print its token once').argument('<email>')
  addClientFlags(create.option('--name <NAME>', 'name that others see')).action(
    async (email: string, options: { json?: boolean; name?: string }) => {
      const body = { email, name: options.name ?? email.split('@')[0] }
      const made = await clientOf(create).request<Admin & { token: string }>('POST', '/api/cluster/admins', body)
      print(made, options.json === true, () => `token, shown once: ${made.token}`)
    },
  )

  const list = admin.command('list').description('list the admins')
  addClientFlags(list).action(async (options: { json?: boolean }) => {
    const page = await clientOf(list).request<AdminPage>('GET', '/api/cluster/admins?perPage=1000')
    print(page, options.json === true, () =>
      renderTable(page.items, [
        { title: 'id', text: (row) => row.id },
        { title: 'email', text: (row) => row.email },
        { title: 'name', text: (row) => row.name },
        { title: 'created', text: (row) => row.created },
      ]),
    )
  })

  const revoke = admin
    .command('revoke')
    .description('delete an admin; its token stops working at once')
    .argument('<id>')
  addClientFlags(revoke).action(async (id: string, options: { json?: boolean }) => {
    await clientOf(revoke).request('DELETE', `/api/cluster/admins/${encodeURIComponent(id)}`)
    print({ revoked: id }, options.json === true, () => `revoked ${id}`)
  })
}
