using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>A backend for one connection at a time that answers as one should, until the test has it do something else. It maps what is shared with
/// it and knows the rings, and serves none of them.</summary>
internal sealed class ScriptedBackend : IDisposable
{
    private const Feature Offered = Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | VhostUserBackend.ProtocolFeaturesBit;

    private readonly string _folder = Directory.CreateTempSubdirectory("lowlevel-scripted-").FullName;
    private readonly Socket _listener;
    private readonly Thread _thread;
    private readonly Dictionary<uint, VhostUserVringAddress> _addresses = [];
    private readonly Dictionary<uint, int> _calls = [];
    private readonly ManualResetEventSlim _lets = new(false);
    private MessageSocket? _socket;
    private Exception? _crash;
    private bool _closes;

    public ScriptedBackend()
    {
        Path = System.IO.Path.Combine(_folder, "host.sock");
        _listener = UnixSockets.Listen(Path);
        _thread = new Thread(Run) { IsBackground = true, Name = "scripted host" };
        _thread.Start();
    }

    public string Path { get; }

    /// <summary>Runs at each message, with its number from 0 on. True: it is answered as it should be.</summary>
    public Func<ScriptedBackend, int, bool>? OnMessage { get; set; }

    /// <summary>What came of the memory.</summary>
    public MemoryTable Table { get; private set; } = MemoryTable.Empty(LinuxSystem.Instance, Os);

    public MessageSocket Socket => _socket!;

    /// <summary>The channel, if it was given one; null again when the connection is over.</summary>
    public MessageSocket? Channel { get; private set; }

    /// <summary>Messages of the connection that there is, or of the last.</summary>
    public int Messages { get; private set; }

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    /// <summary>Answers nothing more, and keeps everything until <see cref="Dispose"/> or <see cref="GoOn"/>.</summary>
    public void Stall() => _lets.Wait(ScriptedFrontend.Patience);

    public void GoOn() => _lets.Set();

    /// <summary>Closes the connection when the message at hand is done with.</summary>
    public void CloseAfterThis() => _closes = true;

    /// <summary>The ring of a queue, as the device sees it.</summary>
    public SplitRing Ring(int queue, int size)
    {
        VhostUserVringAddress at = _addresses[(uint)queue];
        Assert.True(Table.TryFromUser(at.DescUserAddr, out ulong descriptors)
            & Table.TryFromUser(at.AvailUserAddr, out ulong available)
            & Table.TryFromUser(at.UsedUserAddr, out ulong used));
        Assert.True(SplitRing.TryMap(Table.Memory, size, new VirtqueueAddresses(descriptors, available, used), out SplitRing ring));
        return ring;
    }

    public void Interrupt(int queue) => Os.Signal(_calls[(uint)queue]);

    /// <summary>The answer that is due to the message that came, changed or not. False: none is.</summary>
    public bool Answer(Func<byte[], byte[]>? change = null, uint? request = null, VhostUserFlags flags = VhostUserFlags.Reply)
    {
        byte[]? answer = Due();
        if (answer is not null)
        {
            Socket.Send(request ?? Socket.Request, flags, change is null ? answer : change(answer));
        }

        return answer is not null;
    }

    public void Dispose()
    {
        GoOn();
        _listener.Dispose();
        Assert.True(_thread.Join(ScriptedFrontend.Patience), "the scripted host does not end");
        Assert.Null(_crash);
        _socket?.Dispose();
        File.Delete(Path);
        Directory.Delete(_folder);
        _lets.Dispose();
    }

    private byte[]? Due() => (VhostUserRequest)Socket.Request switch
    {
        VhostUserRequest.GetFeatures => ScriptedFrontend.BytesOf((ulong)Offered),
        VhostUserRequest.GetProtocolFeatures => ScriptedFrontend.BytesOf((ulong)VhostUserBackend.Offered),
        VhostUserRequest.GetQueueNum => ScriptedFrontend.BytesOf((ulong)BalloonLimits.Queues),
        VhostUserRequest.GetConfig => Socket.Payload.ToArray(),
        _ => (Socket.Flags & VhostUserFlags.NeedReply) != 0 ? new byte[sizeof(ulong)] : null,
    };

    private void Run()
    {
        try
        {
            while (true)
            {
                using MessageSocket socket = new(_listener.Accept(), Os);
                _socket = socket;
                Messages = 0;
                _closes = false;
                while (!_closes && Next(socket))
                {
                    Note();
                    int number = Messages++;
                    if (OnMessage?.Invoke(this, number) ?? true)
                    {
                        Answer();
                    }
                }

                LetGo();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            LetGo();
        }
        catch (Exception e)
        {
            _crash = e;
            LetGo();
        }
    }

    private static bool Next(MessageSocket socket)
    {
        ReceiveResult result;
        while ((result = socket.TryReceive()) == ReceiveResult.More)
        {
            Os.Poll([new PollEntry(socket.Descriptor)], (int)ScriptedFrontend.Patience.TotalMilliseconds, out _);
        }

        return result == ReceiveResult.Message;
    }

    private void Note()
    {
        switch ((VhostUserRequest)Socket.Request)
        {
            case VhostUserRequest.SetMemoryTable:
                for (int i = 0; i < Socket.Files; i++)
                {
                    Table = Table.With(
                        MemoryMarshal.Read<VhostUserMemoryRegion>(Socket.Payload[(8 + (i * VhostUserMemoryRegion.SizeInBytes))..]), Socket.TakeFile(i));
                }

                break;
            case VhostUserRequest.SetBackendChannel:
                Channel = MessageSocket.Adopt(Socket.TakeFile(0), Os);
                break;
            case VhostUserRequest.SetVringAddress:
                Assert.True(Socket.TryRead(out VhostUserVringAddress address));
                _addresses[address.Index] = address;
                break;
            case VhostUserRequest.SetVringCall:
                Assert.True(Socket.TryRead(out ulong index));
                _calls[(uint)index] = Socket.TakeFile(0);
                break;
            default:
                break;
        }
    }

    private void LetGo()
    {
        Table.Dispose();
        Channel?.Dispose();
        Channel = null;
        _calls.Values.ToList().ForEach(fd => Os.Close(fd));
        _calls.Clear();
    }
}
