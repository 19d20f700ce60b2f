using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Kind = LowLevel.Perf.ScriptedDescriptors.FileKind;

namespace LowLevel.Perf;

/// <summary>Both ends of a vhost-user connection, the other of which is the input: messages that a frontend with sense would send, changed, resized, out
/// of order, in pieces, with files that are none; and answers of that kind to ours. In memory, in one thread.</summary>
internal sealed class VhostUserTarget : IFuzzTarget
{
    private const ulong Page = 4096;
    private const int MemoryPages = 1024;
    private const ulong GuestBase = 1ul << 32;
    private const ulong UserBase = 0x7abc_0000_0000;
    private const ulong RingsAt = 900 * Page;
    private const int QueueSize = 8;

    private static readonly uint[] s_requests = [.. Array.ConvertAll(Enum.GetValues<VhostUserRequest>(), static one => (uint)one), 0, 19, 31, 41, uint.MaxValue];

    private readonly FuzzMemory _memory = new();
    private readonly ScriptedDescriptors _os;
    private readonly RingView[] _views = new RingView[BalloonLimits.Queues];
    private readonly StandingClock _clock = new();
    private readonly List<(VhostUserRequest Request, byte[] Payload, Kind[] Files)> _sane = [];
    private FuzzMap _map = new();
    private byte[] _script = [];
    private int _at;
    private int _said;
    private uint _asked;
    private Func<int> _running = static () => 0;

    public VhostUserTarget()
    {
        _os = new ScriptedDescriptors(_memory.Add(GuestBase, MemoryPages, MemoryProtection.ReadWrite));
        for (int i = 0; i < _views.Length; i++)
        {
            _views[i] = new RingView(_memory, QueueSize, At(i, GuestBase));
        }

        Feature features = Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | Feature.IndirectDescriptors | VhostUserBackend.ProtocolFeaturesBit;
        VhostUserMemoryRegion region = new() { GuestAddress = GuestBase, Bytes = MemoryPages * Page, UserAddress = UserBase };
        Say(VhostUserRequest.GetFeatures, []);
        Say(VhostUserRequest.SetProtocolFeatures, Bytes((ulong)(VhostUserBackend.Offered & ~VhostUserProtocolFeature.GuestDrops)));
        Say(VhostUserRequest.SetFeatures, Bytes((ulong)features));
        Say(VhostUserRequest.SetMemoryTable, [.. Bytes(1ul), .. Bytes(region)], Kind.Memory);
        foreach (int queue in (ReadOnlySpan<int>)[BalloonLimits.ReportingQueue, BalloonLimits.InflateQueue, BalloonLimits.StatsQueue])
        {
            VirtqueueAddresses at = At(queue, UserBase);
            Say(VhostUserRequest.SetVringNum, Bytes(new VhostUserVringState { Index = (uint)queue, Num = QueueSize }));
            Say(VhostUserRequest.SetVringBase, Bytes(new VhostUserVringState { Index = (uint)queue }));
            Say(VhostUserRequest.SetVringAddress, Bytes(new VhostUserVringAddress
            {
                Index = (uint)queue, DescUserAddr = at.Descriptors, AvailUserAddr = at.Available, UsedUserAddr = at.Used,
            }));
            Say(VhostUserRequest.SetVringCall, Bytes((ulong)queue), Kind.Event);
            Say(VhostUserRequest.SetVringKick, Bytes((ulong)queue), Kind.Event);
            Say(VhostUserRequest.SetVringEnable, Bytes(new VhostUserVringState { Index = (uint)queue, Num = 1 }));
        }

        Say(VhostUserRequest.GetConfig, [.. Bytes(new VhostUserConfigHeader { Size = 16 }), .. new byte[16]]);
        Say(VhostUserRequest.SetConfig, [.. Bytes(new VhostUserConfigHeader { Offset = 4, Size = 4 }), 1, 0, 0, 0]);
        Say(VhostUserRequest.GetVringBase, Bytes(new VhostUserVringState { Index = BalloonLimits.ReportingQueue }));
        Say(VhostUserRequest.ResetDevice, []);
        Say(VhostUserRequest.SetMemoryTable, [.. Bytes(2ul), .. Bytes(region with { Bytes = 512 * Page }), .. Bytes(region with
        {
            GuestAddress = GuestBase + (512 * Page), Bytes = 512 * Page, UserAddress = UserBase + (512 * Page), MmapOffset = 512 * Page,
        })], Kind.Memory, Kind.Memory);
    }

    public string Name => "vhost-user";

    public int InputMax => 256;

    [SuppressMessage("Reliability", "CA2000", Justification = "The ends own their sockets.")]
    public void Run(ReadOnlySpan<byte> input, FuzzMap map)
    {
        _map = map;
        _script = input.ToArray();
        _at = 1;
        _said = 0;
        _os.Begin();
        _os.Waits = null;
        int kind = input[0];
        _os.Piece = (kind & 2) == 0 ? int.MaxValue : 1 + ((kind >> 2) & 15);
        foreach (RingView view in _views)
        {
            view.Clear();
        }

        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        if ((kind & 1) == 0)
        {
            Backend(socket);
        }
        else
        {
            Frontend(socket);
        }

        _os.LooksClosed();
    }

    public void Dispose()
    {
        _os.Begin();
        _memory.Dispose();
    }

    private static VirtqueueAddresses At(int queue, ulong start) => new VirtqueueLayout(QueueSize).PlaceAt(start + RingsAt + ((ulong)queue * 8 * Page));

    private static byte[] Bytes<T>(in T value)
        where T : unmanaged =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    private void Say(VhostUserRequest request, byte[] payload, params Kind[] files) => _sane.Add((request, payload, files));

    private void Backend(Socket socket)
    {
        using SharedGuest guest = new(_os, _os);
        BalloonDevice device = new(new GuestMemory(), ulong.MaxValue, guest, guest, new BalloonDeviceOptions());
        using VhostUserBackend backend = new(socket, device, guest, _os, _clock);
        _running = () => backend.RunningRings;
        _os.Speak = SpeakAsFrontend;
        _os.Hear = HearBackend;
        backend.Run();
        FuzzFinding.Require(backend.EndReason is not null && guest.Bytes == 0, "a backend that has ended gives no reason, or has memory");
        _map.Note(1, backend.WasCutOff ? (int)device.Fault + (32 * (int)device.ChainFault) : 999);
        _map.Note(2, unchecked((int)_asked));
    }

    private Errno HearBackend(byte[] bytes)
    {
        VhostUserHeader header = MemoryMarshal.Read<VhostUserHeader>(bytes);
        FuzzFinding.Require(
            header.Size == bytes.Length - VhostUserHeader.SizeInBytes && (header.Flags & VhostUserLimits.VersionMask) == VhostUserLimits.Version,
            $"a message of {header.Size} bytes in {bytes.Length}, flags {header.Flags:x}");
        _map.Note(3, unchecked((int)(header.Request * 2) + (bytes.Length > 20 ? 1 : 0)));
        return Errno.None;
    }

    /// <summary>The next message: the next with sense, or something else.</summary>
    private bool SpeakAsFrontend()
    {
        if (_at >= _script.Length)
        {
            return false;
        }

        FuzzReader reader = new(_script.AsSpan(_at));
        int what = reader.Byte();
        int used = 1;
        if (what < 140)
        {
            Message(_sane[_said++ % _sane.Count], what, 0, int.MaxValue);
        }
        else
        {
            used = 12;
            Odd(what % 12, ref reader);
        }

        _map.Note(4, _running());
        _at += used;
        return true;
    }

    private void Odd(int what, ref FuzzReader reader)
    {
        (VhostUserRequest Request, byte[] Payload, Kind[] Files) one = _sane[reader.Byte() % _sane.Count];
        int flags = reader.Byte();
        switch (what)
        {
            case 0 or 1 or 2:
                byte[] changed = [.. one.Payload];
                if (changed.Length >= sizeof(uint))
                {
                    int at = reader.Byte() % (changed.Length - 3);
                    ulong word = reader.Wild();
                    BitConverter.GetBytes(word).AsSpan(0, Math.Min(sizeof(ulong), changed.Length - at)).CopyTo(changed.AsSpan(at));
                }

                Message((one.Request, changed, one.Files), flags, 0, int.MaxValue);
                break;
            case 3:
                Message(one, flags, reader.Byte() % 64, reader.Byte());
                break;
            case 4:
                Message((one.Request, one.Payload, Files(ref reader)), flags, 0, int.MaxValue);
                break;
            case 5:
                Message(((VhostUserRequest)s_requests[reader.Byte() % s_requests.Length], one.Payload, Files(ref reader)), flags, 0, int.MaxValue);
                break;
            case 6:
                _os.Put([reader.Byte(), reader.Byte(), reader.Byte(), reader.Byte(), reader.Byte()], []);
                break;
            case 7:
                RingWriter.Scribble(ref reader, _views[reader.Below(_views.Length)]);
                _os.Kick(flags);
                break;
            case 8 or 9:
                Report(ref reader);
                _os.Kick(flags);
                break;
            case 10:
                _os.PutSocket();
                Message((VhostUserRequest.SetBackendChannel, [], []), flags, 0, int.MaxValue);
                break;
            default:
                Message(one, flags, 0, int.MaxValue);
                break;
        }
    }

    private static Kind[] Files(ref FuzzReader reader)
    {
        Kind[] files = new Kind[reader.Below(10)];
        for (int i = 0; i < files.Length; i++)
        {
            files[i] = (Kind)reader.Below(4);
        }

        return files;
    }

    private void Message((VhostUserRequest Request, byte[] Payload, Kind[] Files) one, int flags, int longer, int cut)
    {
        byte[] payload = [.. one.Payload, .. new byte[longer]];
        payload = payload[..Math.Min(cut, payload.Length)];
        _asked = (uint)one.Request;
        uint word = VhostUserLimits.Version | ((flags & 3) == 0 ? (uint)VhostUserFlags.NeedReply : 0);
        VhostUserHeader header = new() { Request = (uint)one.Request, Flags = word, Size = (uint)payload.Length };
        _os.Put([.. Bytes(header), .. payload], one.Files);
    }

    private void Report(ref FuzzReader reader)
    {
        RingView view = _views[reader.Below(2) == 0 ? BalloonLimits.ReportingQueue : BalloonLimits.InflateQueue];
        int head = reader.Below(QueueSize);
        view.Descriptor(head) = new VirtqDescriptor
        {
            Addr = GuestBase + (reader.Byte() * Page), Len = (uint)((1 + reader.Below(16)) * (int)Page), Flags = (ushort)(reader.Below(4) == 0 ? reader.Byte() : 2),
        };
        view.AvailableSlot(view.AvailableIndex) = (ushort)head;
        RingView.Advance(ref view.AvailableIndex);
    }

    private void Frontend(Socket socket)
    {
        _os.Hear = bytes =>
        {
            _asked = MemoryMarshal.Read<VhostUserHeader>(bytes).Request;
            return Errno.None;
        };
        _os.Speak = SpeakAsBackend;
        _os.Waits = _clock.Move;
        using VhostUserFrontend frontend = new(socket, _os, _clock, TimeSpan.FromSeconds(3));
        SharedRegion region = new(GuestBase, MemoryPages * Page, 4096, 3);
        Span<byte> config = stackalloc byte[16];
        bool went = frontend.TryGreet(VhostUserBackend.Offered);
        for (int i = 0; i < 6; i++)
        {
            bool wasGood = frontend.Failure is null;
            went = i switch
            {
                0 => frontend.TrySetFeatures(frontend.Features),
                1 => frontend.TrySetMemory([region, region]),
                2 => frontend.TryStartRing(0, QueueSize, default, 3, 3),
                3 => frontend.TryReadConfig(config),
                4 => frontend.TryWriteConfig(4, 7),
                _ => frontend.TrySetChannel(3),
            };
            FuzzFinding.Require(wasGood || !went, "a connection that has failed goes on");
            FuzzFinding.Require(went || frontend.Failure is not null, "a failure without a reason");
            _map.Note(5, (i * 2) + (went ? 1 : 0));
        }

        frontend.TryPart(new Deadline(_clock, TimeSpan.FromSeconds(2)));
        _map.Note(6, frontend.Failure is null ? 0 : frontend.Failure.Length);
    }

    /// <summary>An answer to what was asked last, or something else; nothing now and then.</summary>
    private bool SpeakAsBackend()
    {
        FuzzReader reader = new(_script.AsSpan(Math.Min(_at, _script.Length)));
        int what = reader.Byte();
        _at++;
        byte[] payload = (VhostUserRequest)_asked switch
        {
            VhostUserRequest.GetFeatures => Bytes((ulong)(Feature.Version1 | VhostUserBackend.ProtocolFeaturesBit)),
            VhostUserRequest.GetProtocolFeatures => Bytes((ulong)VhostUserBackend.Offered),
            VhostUserRequest.GetQueueNum => Bytes(5ul),
            VhostUserRequest.GetConfig => [.. Bytes(new VhostUserConfigHeader { Size = 16 }), .. new byte[16]],
            _ => Bytes(0ul),
        };
        VhostUserHeader header = new() { Request = _asked, Flags = VhostUserLimits.Version | (uint)VhostUserFlags.Reply, Size = (uint)payload.Length };
        Kind[] files = [];
        if (what >= 208)
        {
            _at += 10;
            switch (what % 8)
            {
                case 0: BitConverter.TryWriteBytes(payload, reader.Wild()); break;
                case 1: header.Size = reader.WildWord(); break;
                case 2: header.Flags = reader.WildWord(); break;
                case 3: header.Request = reader.WildWord(); break;
                case 4: files = Files(ref reader); break;
                case 5: payload = payload[..(reader.Byte() % payload.Length)]; header.Size = (uint)payload.Length; break;
                case 6: return false;
                default: return true;
            }
        }

        _os.Put([.. Bytes(header), .. payload], files);
        return true;
    }
}
