
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'omctl' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'omctl'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'omctl' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('new', 'new', [CompletionResultType]::ParameterValue, 'Make a project, or a channel or scenario of a project')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Find every mistake in the project''s files')
            [CompletionResult]::new('serve', 'serve', [CompletionResultType]::ParameterValue, 'Serve the project to devices')
            [CompletionResult]::new('account', 'account', [CompletionResultType]::ParameterValue, 'Make, change and list accounts')
            [CompletionResult]::new('channel', 'channel', [CompletionResultType]::ParameterValue, 'Look at channels and their records, and prepare their backends')
            [CompletionResult]::new('device', 'device', [CompletionResultType]::ParameterValue, 'Look at devices, activate and revoke them, simulate fleets of them')
            [CompletionResult]::new('sync', 'sync', [CompletionResultType]::ParameterValue, 'Look at how sync stands, and at what became of devices'' writes')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Show the running server''s newest log events; -f goes on with what comes')
            [CompletionResult]::new('db', 'db', [CompletionResultType]::ParameterValue, 'Save, restore, seed and reset the server''s store: accounts, devices, state log')
            [CompletionResult]::new('backup', 'backup', [CompletionResultType]::ParameterValue, 'Save the store in a file of your choice and examine it; a server may be running')
            [CompletionResult]::new('config', 'config', [CompletionResultType]::ParameterValue, 'Look at the settings that are in force')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Look at the project and this machine for what would keep a server from working')
            [CompletionResult]::new('test', 'test', [CompletionResultType]::ParameterValue, 'Run the project''s scenarios against fresh copies of its state, and prove what they expect')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Explain a code that a command, a receipt or the server gave')
            [CompletionResult]::new('template', 'template', [CompletionResultType]::ParameterValue, 'Change what `omctl new` writes')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print a script that completes commands in your shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page, or write those of all commands into a folder')
            [CompletionResult]::new('version', 'version', [CompletionResultType]::ParameterValue, 'Print the version; with --json also what it speaks and reads')
            break
        }
        'omctl;new' {
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'A variable of the template')
            [CompletionResult]::new('--template', '--template', [CompletionResultType]::ParameterName, 'Take templates from this folder; `omctl template eject` makes one')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would be written, and write nothing')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Overwrite files that are there with another content')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('project', 'project', [CompletionResultType]::ParameterValue, 'Make a project in a new folder')
            [CompletionResult]::new('channel', 'channel', [CompletionResultType]::ParameterValue, 'Write a channel from scratch, or channels from the live tables of a database')
            [CompletionResult]::new('scenario', 'scenario', [CompletionResultType]::ParameterValue, 'Write a scenario for a fleet of simulated devices')
            break
        }
        'omctl;new;project' {
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'A variable of the template')
            [CompletionResult]::new('--template', '--template', [CompletionResultType]::ParameterName, 'Take templates from this folder; `omctl template eject` makes one')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would be written, and write nothing')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Overwrite files that are there with another content')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;new;channel' {
            [CompletionResult]::new('--field', '--field', [CompletionResultType]::ParameterName, 'A field of a channel from scratch: NAME:TYPE, then `required`, `default=…`, a ref''s channel, an enum''s words')
            [CompletionResult]::new('--backend', '--backend', [CompletionResultType]::ParameterName, 'Where the records of a channel from scratch live; else OpenMobster''s own store')
            [CompletionResult]::new('--from', '--from', [CompletionResultType]::ParameterName, 'The database, and the table: sqlite:FILE#TABLE, or BACKEND#TABLE of the project')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The columns that tell rows apart, where the table does not say: of a view, or of a table without a key')
            [CompletionResult]::new('--scope', '--scope', [CompletionResultType]::ParameterName, 'Who sees a record: public, FIELD=account.email, or via:REFERENCE; else nobody')
            [CompletionResult]::new('--write', '--write', [CompletionResultType]::ParameterName, 'What any account may do: create,update,delete; else nothing')
            [CompletionResult]::new('--template', '--template', [CompletionResultType]::ParameterName, 'Take templates from this folder; `omctl template eject` makes one')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'All tables that have a key')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would be written, and write nothing')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Overwrite files that are there with another content')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;new;scenario' {
            [CompletionResult]::new('--template', '--template', [CompletionResultType]::ParameterName, 'Take templates from this folder; `omctl template eject` makes one')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would be written, and write nothing')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Overwrite files that are there with another content')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;check' {
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to check with')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--write-schemas', '--write-schemas', [CompletionResultType]::ParameterName, 'Write the JSON Schemas that editors read, also where no file of the project asks for them')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;serve' {
            [CompletionResult]::new('--addr', '--addr', [CompletionResultType]::ParameterName, 'Where to listen')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'Where to keep accounts, devices and the state log')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('--backend-file', '--backend-file', [CompletionResultType]::ParameterName, 'Use this file in place of a SQLite backend''s own, for example a copy')
            [CompletionResult]::new('--log', '--log', [CompletionResultType]::ParameterName, 'What to log, as `warn,omctl=debug`')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--no-watch', '--no-watch', [CompletionResultType]::ParameterName, 'Do not make changes of the project''s files live')
            [CompletionResult]::new('--lan', '--lan', [CompletionResultType]::ParameterName, 'Let phones on this network in: TLS with a certificate of its own, whose pin is printed')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('add', 'add', [CompletionResultType]::ParameterValue, 'Make an account')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List accounts')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show one account with its devices')
            [CompletionResult]::new('set', 'set', [CompletionResultType]::ParameterValue, 'Change an account''s role and claims; its connected devices see the difference at once')
            [CompletionResult]::new('disable', 'disable', [CompletionResultType]::ParameterValue, 'Let an account do nothing until it is enabled again; its connected devices are out within 5 seconds')
            [CompletionResult]::new('enable', 'enable', [CompletionResultType]::ParameterValue, 'Let a disabled account act again, with the devices it has')
            [CompletionResult]::new('passwd', 'passwd', [CompletionResultType]::ParameterValue, 'Give an account a password, or take it away; its devices stay as they are')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Remove an account for good and revoke its devices')
            [CompletionResult]::new('import', 'import', [CompletionResultType]::ParameterValue, 'Add and change accounts from a CSV file: all of them, or none')
            [CompletionResult]::new('code', 'code', [CompletionResultType]::ParameterValue, 'Make a code that activates one device within ten minutes')
            break
        }
        'omctl;account;add' {
            [CompletionResult]::new('--role', '--role', [CompletionResultType]::ParameterName, 'Its role, as `write:` and `scope:` of channels name it')
            [CompletionResult]::new('--claim', '--claim', [CompletionResultType]::ParameterName, 'A claim for scope rules: `name=text`, or `name=[text,text]`; repeatable')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--password-stdin', '--password-stdin', [CompletionResultType]::ParameterName, 'Read a password from stdin; without one its devices are activated by codes')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account;list' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account;show' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account;set' {
            [CompletionResult]::new('--role', '--role', [CompletionResultType]::ParameterName, 'Its role from now on')
            [CompletionResult]::new('--claim', '--claim', [CompletionResultType]::ParameterName, 'A claim that it has from now on: `name=text`, or `name=[text,text]`; repeatable')
            [CompletionResult]::new('--remove-claim', '--remove-claim', [CompletionResultType]::ParameterName, 'A claim that is taken away; repeatable')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--no-role', '--no-role', [CompletionResultType]::ParameterName, 'Take its role away')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account;disable' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account;enable' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;account;passwd' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--password-stdin', '--password-stdin', [CompletionResultType]::ParameterName, 'Read it from stdin')
            [CompletionResult]::new('--generate', '--generate', [CompletionResultType]::ParameterName, 'Make one and show it, this once')
            [CompletionResult]::new('--none', '--none', [CompletionResultType]::ParameterName, 'Take it away: devices are activated by codes alone')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;account;remove' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;account;import' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would be added and changed, and change nothing')
            [CompletionResult]::new('--codes', '--codes', [CompletionResultType]::ParameterName, 'Make an activation code for each account that is added; codes end after ten minutes')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;account;code' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the channels that a server has live')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show one live channel with its fields')
            [CompletionResult]::new('read', 'read', [CompletionResultType]::ParameterValue, 'Show records of a channel, as the backend has them now')
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a record in the name of an account')
            [CompletionResult]::new('update', 'update', [CompletionResultType]::ParameterValue, 'Change fields of a record in the name of an account')
            [CompletionResult]::new('delete', 'delete', [CompletionResultType]::ParameterValue, 'Delete a record in the name of an account, on every device')
            [CompletionResult]::new('probe', 'probe', [CompletionResultType]::ParameterValue, 'Look at a channel''s table, by reading only')
            [CompletionResult]::new('diff', 'diff', [CompletionResultType]::ParameterValue, 'Show what a channel''s file says otherwise than its live table')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Create what exactly-once delivery needs in a channel''s database')
            [CompletionResult]::new('resume', 'resume', [CompletionResultType]::ParameterValue, 'Let deletes through that are held because they are suspiciously many')
            break
        }
        'omctl;channel;list' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;show' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;read' {
            [CompletionResult]::new('--as', '--as', [CompletionResultType]::ParameterName, 'Only what this account may see')
            [CompletionResult]::new('--where', '--where', [CompletionResultType]::ParameterName, 'Only records whose field holds exactly this text; `FIELD=` finds those without a value; repeatable')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'At most so many')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'All of them')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;create' {
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'A field''s new value; `FIELD=` empties it; repeatable')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'A JSON object of values: `-` reads stdin, `@FILE` a file')
            [CompletionResult]::new('--as', '--as', [CompletionResultType]::ParameterName, 'In whose name: this account''s role and scopes decide')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'Names this write: the same command with the same key is done once and has the same receipt')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;update' {
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'A field''s new value; `FIELD=` empties it; repeatable')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'A JSON object of values: `-` reads stdin, `@FILE` a file')
            [CompletionResult]::new('--as', '--as', [CompletionResultType]::ParameterName, 'In whose name: this account''s role and scopes decide')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'Names this write: the same command with the same key is done once and has the same receipt')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;delete' {
            [CompletionResult]::new('--as', '--as', [CompletionResultType]::ParameterName, 'In whose name: this account''s role and scopes decide')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'Names this write: the same command with the same key is done once and has the same receipt')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;probe' {
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Every channel')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;diff' {
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Every channel')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;install' {
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Every channel')
            [CompletionResult]::new('--print-sql', '--print-sql', [CompletionResultType]::ParameterName, 'Print the statements and run none')
            [CompletionResult]::new('--remove', '--remove', [CompletionResultType]::ParameterName, 'Remove it again')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;channel;resume' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;device' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('simulate', 'simulate', [CompletionResultType]::ParameterValue, 'Run a fleet of real device clients against the running server and prove that they converge')
            [CompletionResult]::new('replay', 'replay', [CompletionResultType]::ParameterValue, 'Play the tape of a fleet again: the same writes and faults at the same times, then the same verdict')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List devices, the latest seen first')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show one device: its account, its outbox as the server knows it, what waits')
            [CompletionResult]::new('activate', 'activate', [CompletionResultType]::ParameterValue, 'Make a file on this machine a device of an account, and sync it')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Take a device out of service for good; a connected one is out within 5 seconds')
            break
        }
        'omctl;device;simulate' {
            [CompletionResult]::new('--devices', '--devices', [CompletionResultType]::ParameterName, 'How many devices')
            [CompletionResult]::new('--account', '--account', [CompletionResultType]::ParameterName, 'Whose devices they are, in turn; without it all enabled accounts')
            [CompletionResult]::new('--duration', '--duration', [CompletionResultType]::ParameterName, 'For how long they write')
            [CompletionResult]::new('--offline', '--offline', [CompletionResultType]::ParameterName, 'For how long each of them is offline in that time')
            [CompletionResult]::new('--network', '--network', [CompletionResultType]::ParameterName, 'What their connections are like')
            [CompletionResult]::new('--rate', '--rate', [CompletionResultType]::ParameterName, 'Writes per second and device; 0: they only watch')
            [CompletionResult]::new('--seed', '--seed', [CompletionResultType]::ParameterName, 'Repeats the same choices')
            [CompletionResult]::new('--processes', '--processes', [CompletionResultType]::ParameterName, 'Make so many of the devices processes of their own: then they are really killed')
            [CompletionResult]::new('--keep', '--keep', [CompletionResultType]::ParameterName, 'Keep the devices'' files in this folder')
            [CompletionResult]::new('--capture', '--capture', [CompletionResultType]::ParameterName, 'Keep everything that the server sends to each device, byte for byte, in this folder')
            [CompletionResult]::new('--record', '--record', [CompletionResultType]::ParameterName, 'Write everything that happens to this file, for `omctl device replay`')
            [CompletionResult]::new('--html', '--html', [CompletionResultType]::ParameterName, 'Write the report as a page with plots to this file')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--spawn', '--spawn', [CompletionResultType]::ParameterName, 'Start a server for the fleet, on an empty store of its own, and end it afterwards')
            [CompletionResult]::new('--allow-writes', '--allow-writes', [CompletionResultType]::ParameterName, 'Write to backends that are not the server''s own')
            [CompletionResult]::new('--cleanup', '--cleanup', [CompletionResultType]::ParameterName, 'Afterwards remove what the fleet made, and put back what it changed')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;device;replay' {
            [CompletionResult]::new('--processes', '--processes', [CompletionResultType]::ParameterName, 'Make so many of the devices processes of their own: then they are really killed')
            [CompletionResult]::new('--keep', '--keep', [CompletionResultType]::ParameterName, 'Keep the devices'' files in this folder')
            [CompletionResult]::new('--capture', '--capture', [CompletionResultType]::ParameterName, 'Keep everything that the server sends to each device, byte for byte, in this folder')
            [CompletionResult]::new('--record', '--record', [CompletionResultType]::ParameterName, 'Write everything that happens to this file, for `omctl device replay`')
            [CompletionResult]::new('--html', '--html', [CompletionResultType]::ParameterName, 'Write the report as a page with plots to this file')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--spawn', '--spawn', [CompletionResultType]::ParameterName, 'Start a server for the fleet, on an empty store of its own, and end it afterwards')
            [CompletionResult]::new('--allow-writes', '--allow-writes', [CompletionResultType]::ParameterName, 'Write to backends that are not the server''s own')
            [CompletionResult]::new('--cleanup', '--cleanup', [CompletionResultType]::ParameterName, 'Afterwards remove what the fleet made, and put back what it changed')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;device;list' {
            [CompletionResult]::new('--account', '--account', [CompletionResultType]::ParameterName, 'Of this account only')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;device;show' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;device;activate' {
            [CompletionResult]::new('--account', '--account', [CompletionResultType]::ParameterName, 'Whom the device acts for')
            [CompletionResult]::new('--store', '--store', [CompletionResultType]::ParameterName, 'The device''s file')
            [CompletionResult]::new('--name', '--name', [CompletionResultType]::ParameterName, 'What the device is called; else as its file')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--verify', '--verify', [CompletionResultType]::ParameterName, 'Look at every row first, and fetch again what is not as the server sent it')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;device;revoke' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;sync' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('inspect', 'inspect', [CompletionResultType]::ParameterValue, 'Show how channels and devices stand: records, what waits, what is held or paused')
            [CompletionResult]::new('trace', 'trace', [CompletionResultType]::ParameterValue, 'Tell what became of one mutation or record, in the order of time; --json shows values')
            [CompletionResult]::new('rejected', 'rejected', [CompletionResultType]::ParameterValue, 'List mutations that were not applied, the newest first; --json shows their values')
            [CompletionResult]::new('conflicts', 'conflicts', [CompletionResultType]::ParameterValue, 'List mutations of which a value lost, the newest first; --json shows their values')
            break
        }
        'omctl;sync;inspect' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;sync;trace' {
            [CompletionResult]::new('--channel', '--channel', [CompletionResultType]::ParameterName, 'Records of this channel only')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;sync;rejected' {
            [CompletionResult]::new('--channel', '--channel', [CompletionResultType]::ParameterName, 'Of this channel only')
            [CompletionResult]::new('--account', '--account', [CompletionResultType]::ParameterName, 'Of this account''s devices only')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'At most so many')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;sync;conflicts' {
            [CompletionResult]::new('--channel', '--channel', [CompletionResultType]::ParameterName, 'Of this channel only')
            [CompletionResult]::new('--account', '--account', [CompletionResultType]::ParameterName, 'Of this account''s devices only')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'At most so many')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;logs' {
            [CompletionResult]::new('--level', '--level', [CompletionResultType]::ParameterName, 'Only this level and what is more serious')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Begin with at most so many recent ones')
            [CompletionResult]::new('--last', '--last', [CompletionResultType]::ParameterName, 'Begin with at most so many recent ones')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on with what comes, until interrupted')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on with what comes, until interrupted')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;db' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('snapshot', 'snapshot', [CompletionResultType]::ParameterValue, 'Save the store in one file; a server may be running')
            [CompletionResult]::new('restore', 'restore', [CompletionResultType]::ParameterValue, 'Put a snapshot in the store''s place; the server must be stopped')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the snapshots of the data directory')
            [CompletionResult]::new('seed', 'seed', [CompletionResultType]::ParameterValue, 'Put the project''s seed files into the running server''s store again')
            [CompletionResult]::new('reset', 'reset', [CompletionResultType]::ParameterValue, 'Delete the store, so that the next start begins a fresh one; the server must be stopped')
            break
        }
        'omctl;db;snapshot' {
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;db;restore' {
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;db;list' {
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;db;seed' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory of the server on this machine')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Overwrite records that look otherwise')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;db;reset' {
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;backup' {
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'The data directory')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` names the data directory')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;config' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show every setting, as `omctl serve` with the same flags would take it')
            break
        }
        'omctl;config;show' {
            [CompletionResult]::new('--addr', '--addr', [CompletionResultType]::ParameterName, 'As for `omctl serve`')
            [CompletionResult]::new('--data-dir', '--data-dir', [CompletionResultType]::ParameterName, 'As for `omctl serve`')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('--log', '--log', [CompletionResultType]::ParameterName, 'As for `omctl serve`')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--origin', '--origin', [CompletionResultType]::ParameterName, 'Also say where each value comes from: default, a line of the project file, a variable, a flag')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;doctor' {
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;test' {
            [CompletionResult]::new('--junit', '--junit', [CompletionResultType]::ParameterName, 'Write the results in JUnit''s XML to this file')
            [CompletionResult]::new('--seed', '--seed', [CompletionResultType]::ParameterName, 'Repeats the same choices')
            [CompletionResult]::new('--processes', '--processes', [CompletionResultType]::ParameterName, 'Make so many of the devices processes of their own: then they are really killed')
            [CompletionResult]::new('--keep', '--keep', [CompletionResultType]::ParameterName, 'Keep the tapes and the devices'' files in this folder, one folder for each scenario')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Whose overlay of `env:` to use')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--fresh', '--fresh', [CompletionResultType]::ParameterName, 'Begin with an empty store in place of a copy of the project''s')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'omctl;explain' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;template' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('eject', 'eject', [CompletionResultType]::ParameterValue, 'Write the built-in templates to a folder, to be edited and used with --template')
            break
        }
        'omctl;template;eject' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would be written, and write nothing')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Overwrite files that are there with another content')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;completions' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;man' {
            [CompletionResult]::new('--dir', '--dir', [CompletionResultType]::ParameterName, 'Write a page for each command into this folder')
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'omctl;version' {
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'The project folder; else the nearest one upwards from here')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON for scripts; implies no questions')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Answer every question with yes')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print results, warnings and errors only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
