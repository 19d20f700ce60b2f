using System;
using System.Collections.Generic;
using CsCheck;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Virtio;

/// <summary>Both sides of a ring against a model that knows only lists: what was added comes out on the other side, whatever the
/// order of completion, and nobody who sleeps by the rules is left asleep.</summary>
public sealed class SplitRingModelTests
{
    /// <summary>More than the indexes' 2^16.</summary>
    private const int ManyRequests = 70_000;

    public static TheoryData<bool, bool, int> Modes
    {
        get
        {
            TheoryData<bool, bool, int> modes = [];
            foreach (bool eventIndex in (bool[])[false, true])
            {
                foreach (bool indirect in (bool[])[false, true])
                {
                    foreach (int size in (int[])[1, 2, 8, 64])
                    {
                        modes.Add(eventIndex, indirect, size);
                    }
                }
            }

            return modes;
        }
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void Any_order_of_adding_and_completing_keeps_the_books(bool eventIndex, bool indirect, int size) =>
        Gen.Int[0, int.MaxValue].Array[1, 300].Sample(
            steps =>
            {
                using Model model = new(size, eventIndex, indirect);
                foreach (int step in steps)
                {
                    model.Step(step);
                }

                model.Finish();
            },
            iter: 60);

    [Theory]
    [MemberData(nameof(Modes))]
    public void Seventy_thousand_requests_go_round_the_indexes(bool eventIndex, bool indirect, int size)
    {
        using Model model = new(size, eventIndex, indirect);
        Random random = new(size + (eventIndex ? 1000 : 0) + (indirect ? 2000 : 0));
        while (model.Reaped < ManyRequests)
        {
            model.Step(random.Next());
        }

        model.Finish();
    }

    [Theory]
    [InlineData(0, 1, 0, true)]
    [InlineData(1, 1, 0, false)]
    [InlineData(65535, 0, 65535, true)]
    [InlineData(65535, 65535, 65530, false)]
    [InlineData(0, 1, 65530, true)]
    [InlineData(5, 5, 5, false)]
    [InlineData(2, 10, 3, false)]
    [InlineData(3, 10, 3, true)]
    [InlineData(9, 10, 3, true)]
    [InlineData(10, 10, 3, false)]
    public void An_event_is_passed_when_the_index_moves_over_it(int eventIndex, int to, int from, bool passed) =>
        Assert.Equal(passed, SplitRing.Passes((ushort)eventIndex, (ushort)to, (ushort)from));

    private sealed class Model : IDisposable
    {
        private readonly RingFixture _ring;
        private readonly Queue<Request> _added = new();
        private readonly Queue<Request> _published = new();
        private readonly List<(ushort Head, Request Request)> _taken = [];
        private readonly Queue<(ulong Token, uint Written)> _used = new();
        private ulong _token;
        private bool _deviceSleeps;
        private bool _driverSleeps;

        public Model(int size, bool eventIndex, bool indirect)
        {
            _ring = new RingFixture(size, eventIndex, indirect);
            SleepDevice();
            SleepDriver();
        }

        public int Reaped { get; private set; }

        public void Step(int step)
        {
            int choice = step % 10;
            int detail = step / 10;
            switch (choice)
            {
                case 0 or 1 or 2:
                    Add(detail);
                    break;
                case 3 or 4:
                    Publish();
                    break;
                case 5 or 6:
                    Take();
                    break;
                case 7 or 8:
                    Complete(detail);
                    break;
                default:
                    Reap();
                    break;
            }

            Assert.Equal(DriverQueueFault.None, _ring.Driver.Fault);
            Assert.Equal(ChainFault.None, _ring.Device.Fault);
            Assert.Equal(_added.Count + _published.Count + _taken.Count + _used.Count, _ring.Driver.Outstanding);
        }

        public void Finish()
        {
            Publish();
            while (_published.Count > 0)
            {
                Take();
            }

            while (_taken.Count > 0)
            {
                Complete(_taken.Count / 2);
            }

            Reap();
            Assert.Equal(0, _ring.Driver.Outstanding);
            Assert.Equal(_ring.Driver.Size, _ring.Driver.FreeDescriptors);
        }

        public void Dispose() => _ring.Dispose();

        private void Add(int detail)
        {
            QueueBuffer[] buffers = new QueueBuffer[1 + (detail % Math.Min(_ring.Driver.Size, 10))];
            int readable = detail / 16 % (buffers.Length + 1);
            for (int i = 0; i < buffers.Length; i++)
            {
                buffers[i] = new QueueBuffer((ulong)(detail + (i * 64)) % 4096, (uint)(1 + ((detail + i) % 64)), i >= readable);
            }

            bool fits = _ring.Driver.CanAdd(buffers.Length);
            int free = _ring.Driver.FreeDescriptors;
            Assert.Equal(fits, _ring.Driver.TryAdd(buffers, ++_token));
            if (fits)
            {
                Assert.InRange(free - _ring.Driver.FreeDescriptors, 1, buffers.Length);
                _added.Enqueue(new Request(_token, buffers));
            }
            else
            {
                Assert.Equal(free, _ring.Driver.FreeDescriptors);
            }
        }

        private void Publish()
        {
            bool any = _added.Count > 0;
            bool notify = _ring.Driver.Publish();
            while (_added.TryDequeue(out Request request))
            {
                _published.Enqueue(request);
            }

            // The device sleeps by the rules, so it must be told; that is all it ever hears.
            Assert.True(!any || !_deviceSleeps || notify, "a sleeping device was not notified");
            _deviceSleeps &= !notify;
        }

        private void Take()
        {
            _ring.Device.DisableNotifications();
            if (_published.TryDequeue(out Request request))
            {
                Assert.True(_ring.Device.TryTake(_ring.Chain));
                Assert.Equal(request.Buffers.Length, _ring.Chain.Buffers.Length);
                for (int i = 0; i < request.Buffers.Length; i++)
                {
                    ChainBuffer found = _ring.Chain.Buffers[i];
                    Assert.Equal(request.Buffers[i], new QueueBuffer(found.Address, found.Length, found.DeviceWrites));
                }

                _taken.Add((_ring.Chain.Head, request));
            }
            else
            {
                Assert.False(_ring.Device.TryTake(_ring.Chain));
                SleepDevice();
            }
        }

        private void Complete(int detail)
        {
            if (_taken.Count == 0)
            {
                return;
            }

            int index = detail % _taken.Count;
            (ushort head, Request request) = _taken[index];
            _taken.RemoveAt(index);
            ulong writable = 0;
            foreach (QueueBuffer buffer in request.Buffers)
            {
                writable += buffer.DeviceWrites ? buffer.Length : 0u;
            }

            uint written = (uint)((ulong)detail % (writable + 1));
            _ring.Device.Complete(head, written);
            _used.Enqueue((request.Token, written));
            bool interrupt = _ring.Device.MustInterrupt();
            Assert.True(!_driverSleeps || interrupt, "a sleeping driver was not interrupted");
            _driverSleeps &= !interrupt;
        }

        private void Reap()
        {
            _ring.Driver.DisableInterrupts();
            _driverSleeps = false;
            do
            {
                while (_used.TryDequeue(out (ulong Token, uint Written) expected))
                {
                    Assert.True(_ring.Driver.TryReap(out UsedRequest reaped));
                    Assert.Equal(expected, (reaped.Token, reaped.Length));
                    Reaped++;
                }

                Assert.False(_ring.Driver.TryReap(out _));
            }
            while (_ring.Driver.EnableInterrupts());
            _driverSleeps = true;
        }

        private void SleepDevice()
        {
            Assert.False(_ring.Device.EnableNotifications());
            _deviceSleeps = true;
        }

        private void SleepDriver()
        {
            Assert.False(_ring.Driver.EnableInterrupts());
            _driverSleeps = true;
        }
    }

    private readonly record struct Request(ulong Token, QueueBuffer[] Buffers);
}
