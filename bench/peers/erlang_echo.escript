#!/usr/bin/env escript
%% Echo with gen_tcp: one process per connection, all on one scheduler.
%%! -noinput +S 1:1 +SDcpu 1:1 +SDio 1 +Bd
-mode(compile).

-define(BUFFER_BYTES, 16384).
-define(BACKLOG, 4096).
-define(USAGE, 64). % exit statuses, as in sysexits.h
-define(UNAVAILABLE, 69).

main([Word]) ->
    case string:to_integer(Word) of
        {Port, ""} when Port > 0, Port < 65536 -> listen(Port);
        _ -> main([])
    end;
main(_) ->
    fail(?USAGE, "usage: erlang_echo PORT    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)", []).

listen(Port) ->
    os:set_signal(sigterm, default),
    %% exit_on_close: what is not out yet when the client has finished is still sent.
    Options = [binary, {ip, {127, 0, 0, 1}}, {packet, raw}, {active, false}, {reuseaddr, true},
               {nodelay, true}, {backlog, ?BACKLOG}, {buffer, ?BUFFER_BYTES},
               {exit_on_close, false}],
    case gen_tcp:listen(Port, Options) of
        {ok, Listener} -> accept(Listener);
        {error, Reason} ->
            Hint = case Reason of eaddrinuse -> " (another server runs there)"; _ -> "" end,
            fail(?UNAVAILABLE, "erlang_echo: 127.0.0.1:~b: ~s~s",
                 [Port, inet:format_error(Reason), Hint])
    end.

accept(Listener) ->
    {ok, Connection} = gen_tcp:accept(Listener),
    Echo = spawn(fun() -> receive start -> echo(Connection) end end),
    ok = gen_tcp:controlling_process(Connection, Echo),
    Echo ! start,
    accept(Listener).

echo(Connection) ->
    case gen_tcp:recv(Connection, 0) of
        {ok, Bytes} ->
            case gen_tcp:send(Connection, Bytes) of
                ok -> echo(Connection);
                {error, _} -> gen_tcp:close(Connection)
            end;
        {error, _} -> gen_tcp:close(Connection) % the client has finished or gone
    end.

fail(Status, Format, Arguments) ->
    io:format(standard_error, Format ++ "~n", Arguments),
    halt(Status).
