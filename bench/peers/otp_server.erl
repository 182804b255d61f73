%% The room API on Erlang/OTP: a gen_server a room, a process a connection, gen_tcp with
%% the VM's own HTTP packet parser. Bodies are not decoded as JSON (OTP 25 has no decoder).
%% Run: escript otp_server.erl PORT
-module(otp_server).
-mode(compile).
-export([main/1]).

main([Port]) ->
    ets:new(rooms, [named_table, public, set, {read_concurrency, true}]),
    ets:new(records, [named_table, public, set, {read_concurrency, true}]),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary, {ip, {127, 0, 0, 1}}, {packet, http_bin}, {active, false}, {backlog, 4096},
        {nodelay, true}, {reuseaddr, true}, {send_timeout, 30000}
    ]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive go -> serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listener).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_request, Method, {abs_path, Path}, _}} ->
            route(Socket, Method, binary:split(Path, <<"/">>, [global]), headers(Socket, 0));
        _ -> gen_tcp:close(Socket)
    end.

headers(Socket, Length) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_header, _, 'Content-Length', _, Value}} -> headers(Socket, binary_to_integer(Value));
        {ok, {http_header, _, _, _, _}} -> headers(Socket, Length);
        {ok, http_eoh} -> Length;
        _ -> exit(normal)
    end.

route(Socket, 'PUT', [<<>>, <<"api">>, <<"rooms">>, Id], Length) when Length > 12, Length =< 32768 ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    {ok, Body} = gen_tcp:recv(Socket, Length),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    %% {"state":VALUE} is taken apart by position.
    State = binary:part(Body, 9, Length - 10),
    Ref = make_ref(),
    room(Id) ! {write, self(), Ref, State},
    receive {Ref, Record} -> answer(Socket, <<"200 OK">>, Record) end,
    serve(Socket);
route(Socket, 'GET', [<<>>, <<"api">>, <<"rooms">>, Id], _) ->
    case ets:lookup(records, Id) of
        [{_, _, Record}] -> answer(Socket, <<"200 OK">>, Record);
        [] -> answer(Socket, <<"404 Not Found">>, <<"{\"error\":\"room_not_found\"}">>)
    end,
    serve(Socket);
route(Socket, 'GET', [<<>>, <<"api">>, <<"rooms">>, Id, <<"stream">>], _) ->
    ok = gen_tcp:send(Socket, [
        <<"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\nretry: 2000\n\n">>
    ]),
    room(Id) ! {join, self()},
    ok = inet:setopts(Socket, [{packet, raw}, {active, once}]),
    stream(Socket);
route(Socket, _, _, _) ->
    answer(Socket, <<"404 Not Found">>, <<"{\"error\":\"not_found\"}">>),
    gen_tcp:close(Socket).

answer(Socket, Status, Body) ->
    gen_tcp:send(Socket, [
        <<"HTTP/1.1 ">>, Status, <<"\r\nContent-Type: application/json\r\nContent-Length: ">>,
        integer_to_binary(byte_size(Body)), <<"\r\n\r\n">>, Body
    ]).

stream(Socket) ->
    receive
        {event, Bytes} ->
            case gen_tcp:send(Socket, Bytes) of
                ok -> stream(Socket);
                _ -> gen_tcp:close(Socket)
            end;
        {tcp_closed, Socket} -> ok;
        {tcp, Socket, _} -> inet:setopts(Socket, [{active, once}]), stream(Socket)
    after 15000 ->
        case gen_tcp:send(Socket, <<": heartbeat\n\n">>) of
            ok -> stream(Socket);
            _ -> gen_tcp:close(Socket)
        end
    end.

%% The room's process, started by whoever asks first.
room(Id) ->
    case ets:lookup(rooms, Id) of
        [{_, Pid}] -> Pid;
        [] ->
            Pid = spawn(fun() -> room_loop(Id, 0, none, #{}) end),
            case ets:insert_new(rooms, {Id, Pid}) of
                true -> Pid;
                false -> exit(Pid, kill), room(Id)
            end
    end.

room_loop(Id, Version, Event, Members) ->
    receive
        {write, From, Ref, State} ->
            Next = Version + 1,
            Number = integer_to_binary(Next),
            Now = list_to_binary(calendar:system_time_to_rfc3339(
                erlang:system_time(millisecond), [{unit, millisecond}, {offset, "Z"}])),
            Record = <<"{\"room_id\":\"", Id/binary, "\",\"version\":", Number/binary, ",\"updated_at\":\"",
                       Now/binary, "\",\"state\":", State/binary, "}">>,
            ets:insert(records, {Id, Next, Record}),
            From ! {Ref, Record},
            Bytes = event(Number, Record),
            maps:foreach(fun(Member, _) -> Member ! {event, Bytes} end, Members),
            room_loop(Id, Next, Bytes, Members);
        {join, Member} ->
            Ref = erlang:monitor(process, Member),
            Member ! {event, case Event of none -> nothing(Id); _ -> Event end},
            room_loop(Id, Version, Event, Members#{Member => Ref});
        {'DOWN', _, process, Member, _} ->
            room_loop(Id, Version, Event, maps:remove(Member, Members))
    end.

nothing(Id) ->
    event(<<"0">>, <<"{\"room_id\":\"", Id/binary, "\",\"version\":0,\"updated_at\":null,\"state\":null}">>).

event(Number, Record) ->
    <<"event: state\nid: otp-", Number/binary, "\ndata: ", Record/binary, "\n\n">>.
